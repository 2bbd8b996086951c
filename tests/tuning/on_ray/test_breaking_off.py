"""What `tune.py` says where a stream, a disk, a device or a file fails it on the way."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch

from hpcm import ConfigError, Diverged
from tuning import cli, watch
from tuning.on_ray.session import last_line
from tuning.results.outcome import ExperimentResult
from tuning.spaces.space import SearchSpace


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_what_a_stream_cannot_encode_is_escaped(
    encoding: str, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2))
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.stderr", err)
    assert cli.main(["--space", "quick.yaml", "--dry-run"]) == 0
    assert cli.main(["--space", "\N{SNOWMAN}"]) == 2
    err.flush()
    assert b"\\u2603: there is no such search space" in err.buffer.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("error", [Diverged("the loss is nan"), torch.OutOfMemoryError("no room")])
def test_a_prior_that_breaks_off_while_it_is_measured_is_a_warning(
    error: Exception,
    storage: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def breaks(space: SearchSpace) -> float:
        raise error

    monkeypatch.setattr(watch, "seconds_of_an_epoch", breaks)
    assert cli.main(["--space", "quick.yaml", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert f"warning: the prior config broke off while measured: {error}" in shown
    assert "just now" not in shown


def test_a_disk_that_is_full_is_one_line(
    storage: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(space: SearchSpace, **given: Any) -> ExperimentResult:
        raise OSError(28, "No space left on device", "ledger.jsonl")

    monkeypatch.setattr(cli, "run_experiment", full)
    assert cli.main(["--space", "quick.yaml", "--storage", str(storage)]) == 1
    printed = capsys.readouterr().err
    assert printed == "tune.py: broke off: [Errno 28] No space left on device: 'ledger.jsonl'\n"


def test_an_export_that_fails_does_not_hide_what_was_found(
    searched: list[dict[str, Any]],
    storage: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def gone(result: ExperimentResult) -> None:
        raise ConfigError("quick.yaml: the file of this search space is gone; put it back")

    monkeypatch.setattr(cli, "export_best", gone)
    assert cli.main(["--space", "quick.yaml", "--storage", str(storage)]) == 1
    shown = capsys.readouterr().out
    assert "best: trial 1" in shown
    assert "not exported: quick.yaml: the file of this search space is gone; put it back" in shown


def test_of_rays_traceback_the_last_line_is_told() -> None:
    text = "Traceback (most recent call last):\n  File ..\nOSError: [Errno 28] No space left\n\n"
    assert last_line(RuntimeError(text)) == "OSError: [Errno 28] No space left"
    assert last_line(RuntimeError()) == "RuntimeError"


def test_a_mode_of_wandb_that_does_not_exist_is_refused_before_anything_is_created(
    searched: list[dict[str, Any]],
    storage: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("WANDB_MODE", "oflin")
    assert cli.main(["--space", "quick.yaml", "--storage", str(storage)]) == 2
    assert capsys.readouterr().err == "tune.py: WANDB_MODE is 'oflin'. Did you mean 'offline'?\n"
    assert searched == []
    assert not storage.exists()


@pytest.mark.parametrize("more", [[], ["--dry-run"]], ids=["search", "dry run"])
@pytest.mark.parametrize("by", ["flag", "variable"])
def test_what_is_no_url_of_a_database_is_refused_before_anything_is_created(
    searched: list[dict[str, Any]],
    storage: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    by: str,
    more: list[str],
) -> None:
    words, url = (
        ["--space", "quick.yaml", "--storage", str(storage), *more],
        "mysql://a:hunter2@b/c",
    )
    if by == "flag":
        words += ["--study-url", url]
    else:
        monkeypatch.setenv("HPCM_STUDY_URL", url)
    assert cli.main(words) == 2
    shown = capsys.readouterr()
    assert shown.err == (
        "tune.py: --study-url mysql://a@b/c: no mysql is supported; must be"
        " postgresql://user@host:5432/database\n"
    )
    assert "hunter2" not in shown.out
    assert searched == []
    assert not storage.exists()


def test_a_place_for_checkpoints_is_tried_by_a_dry_run(
    storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--space", "quick.yaml", "--checkpoints", "s3x://bucket", "--dry-run"]
    assert cli.main(words) == 2
    assert capsys.readouterr().err.startswith("tune.py: --checkpoints s3x://bucket: ")
