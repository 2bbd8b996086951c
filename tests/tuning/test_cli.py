from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hpcm.evaluation.image_sets import image_set
from tests.tuning.searches import make_result, write_space
from tuning import cli, watch
from tuning.flags import flag_names
from tuning.ledger.folders import write_experiment
from tuning.on_ray import preflight
from tuning.results.outcome import ExperimentResult
from tuning.spaces.loading import load_space
from tuning.spaces.refusals import NotNowError
from tuning.spaces.space import SearchSpace


def test_these_are_all_the_flags() -> None:
    assert flag_names() == [
        "--help",
        "--space",
        "--profile",
        "--set",
        "--resume",
        "--storage",
        "--checkpoints",
        "--study-url",
        "--import",
        "--address",
        "--simulate",
        "--slots",
        "--dry-run",
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "--space: missing; give a name in search_spaces/ or a file, or --resume"),
        ("--space phase4x", "phase4x: there is no such search space"),
        ("--space phse3", "Did you mean 'phase3'?"),
        ("--space nowhere.yaml", "nowhere.yaml: there is no such file"),
        ("--spce phase3", "--spce: no such flag. Did you mean '--space'?"),
        ("--space", "--space: expected one argument; see python tune.py --help"),
        ("phase3", "phase3: does not belong to a flag; write --space phase3"),
        ("my/own.yaml", "my/own.yaml: does not belong to a flag; write --space my/own.yaml"),
        ("--space quick.yaml budget.trials=3", "write --set budget.trials=3"),
        ("--space quick.yaml --set budget.trials", "write it as key.path=value"),
        ("--space quick.yaml --set budget.trails=3", "Did you mean 'trials'?"),
        ("--space quick.yaml --set budget.trials=many", "budget.trials: 'many'"),
        ("--space quick.yaml --profile laptp", "Did you mean 'laptop'?"),
        ("--space quick.yaml --storage quick.yaml/x", "quick.yaml is a file"),
        ("--space quick.yaml --storage=", "--storage: empty; give it a value or leave it out"),
        ("--space quick.yaml --profile=", "--profile: empty"),
        ("--space=", "--space: empty"),
        ("--space quick.yaml --storage ~nobody-has-this-name", "home directory"),
        (f"--space quick.yaml --storage {'a' * 300}", "File name too long"),
        ("--resume last", "no experiment in"),
        ("--resume quick-1", "--resume quick-1: no such experiment"),
        ("--resume last --dry-run", "--dry-run: not with --resume"),
    ],
)
def test_bad_input_is_one_message_exit_2_and_creates_nothing(
    words: str, message: str, storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(storage.parent.rglob("*"))
    flags = words.split()
    if "--storage" not in words:
        flags += ["--storage", str(storage)]
    assert cli.main(flags) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.startswith("tune.py: ")
    assert "Traceback" not in captured.err
    assert sorted(storage.parent.rglob("*")) == before


def test_what_a_resume_waits_for_is_no_flag_to_mend(
    searched: list[dict[str, Any]],
    storage: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit code 1: deploy/supervise.sh tries again. A fresh start with that address is refused."""

    def gone(space: SearchSpace, **given: Any) -> ExperimentResult:
        raise NotNowError("--address 10.0.0.1:1: no Ray cluster answers there")

    words = ["--space", "quick.yaml", "--storage", str(storage)]
    assert cli.main(words) == 0
    monkeypatch.setattr(cli, "run_experiment", gone)
    assert cli.main(words) == 2
    assert cli.main([*words, "--resume", "last"]) == 1
    assert cli.main([*words, "--resume=last"]) == 1
    assert "tune.py: --address 10.0.0.1:1: no Ray cluster answers" in capsys.readouterr().err


def test_broken_yaml_names_its_line(storage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("broken.yaml").write_text("base: {}\nparameters: {a: [}\n")
    assert cli.main(["--space", "broken.yaml"]) == 2
    assert "broken.yaml: line 2: not valid YAML" in capsys.readouterr().err


def test_an_address_where_no_cluster_answers(
    storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"  # free again when this block ends
    assert cli.main(["--space", "quick.yaml", "--address", address]) == 2
    printed = capsys.readouterr().err
    assert f"tune.py: --address {address}: no Ray cluster answers there: " in printed
    assert "allowed: HOST:PORT of a head, auto, or leave it out" in printed


@pytest.mark.parametrize(("profile", "code"), [("cluster", 0), ("laptop", 2)])
def test_a_dry_run_without_the_images_warns_unless_it_is_for_this_machine(
    profile: str, code: int, storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--space", "quick.yaml", "--dry-run", "--profile", profile]
    assert cli.main([*words, "--set", "base.data.train=flickr2w"]) == code
    captured = capsys.readouterr()
    assert "image set 'flickr2w'" in (captured.err if code else captured.out)


def test_help_is_not_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    assert ended.value.code == 0
    assert "python tune.py --space phase3" in capsys.readouterr().out


def test_dry_run_shows_the_plan_and_creates_nothing(
    storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--space", "quick.yaml", "--dry-run", "--storage", str(storage)]
    assert cli.main([*words, "--set", "budget.trials=3", "budget.concurrent=1"]) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[0] == "profile     laptop (no GPU on this machine)"
    assert "trials      3, 1 at a time" in shown
    assert "model.name" in shown
    assert "sample 5" in shown
    assert not storage.exists()


def test_dry_run_says_what_stays_idle(
    storage: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(preflight, "_nodes", lambda: [{"CPU": 64.0, "GPU": 8.0}])
    words = ["--space", "quick.yaml", "--dry-run", "--profile", "laptop"]
    assert cli.main(words) == 0
    assert "idle        8 of 8 GPUs: resources.gpu is 0\n" in capsys.readouterr().out
    assert cli.main([*words, "--address", "10.0.0.1:6379"]) == 0  # of that cluster nothing is known
    assert "idle" not in capsys.readouterr().out


def test_a_submitted_jobs_export_is_on_the_cluster(
    searched: list[dict[str, Any]],
    storage: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    assert cli.main(["--space", "quick.yaml", "--storage", str(storage)]) == 0
    assert "ray rsync-down CLUSTER.yaml" in capsys.readouterr().out


def test_a_search_prints_profile_size_and_dashboard_then_the_end(
    searched: list[dict[str, Any]], storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--space", "quick.yaml", "--storage", str(storage)]
    assert cli.main([*words, "--set", "budget.trials=4", "--set", "budget.hours=1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    starts = ("profile", "space", "rungs", "trials", "cost", "search", "dashboard", "ray")
    labels = [line.split()[0] for line in lines if line and line[0] != " "]
    assert tuple(labels[:8]) == starts
    assert lines[0] == "profile     laptop (no GPU on this machine)"
    assert any("trial   2  stopped   at rung 2 of 3" in line for line in lines)
    assert "  python -m hpcm train best/quick.laptop.yaml" in lines
    report = storage / "quick-x" / "report.html"
    assert lines[-1] == f"report  {report}"
    assert report.read_text().startswith("<!doctype html>")
    (call,) = searched
    assert call["space"].budget.hours == 1
    assert call["provenance"]["profile_reason"] == "no GPU on this machine"
    assert call["provenance"]["overrides"] == ["budget.trials=4", "budget.hours=1"]
    assert (call["storage"], call["resume"]) == (str(storage), None)


def test_resume_alone_continues_what_was_started(
    searched: list[dict[str, Any]], storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = storage / "quick-1"
    space = load_space("quick.yaml", "laptop", ["budget.trials=7"])
    write_experiment(
        directory, space, profile_reason="that day's reason", overrides=["budget.trials=7"]
    )
    assert cli.main(["--resume", "last", "--storage", str(storage)]) == 0
    (call,) = searched
    assert call["resume"] == "quick-1"
    assert call["space"] == space
    assert call["provenance"]["overrides"] == ["budget.trials=7"]
    assert "laptop (that day's reason)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, 0),
        ({"complete": False, "interrupted": True}, 130),
        ({"complete": False, "error": "the head is gone"}, 1),
        ({"best": None}, 1),
        ({"complete": False}, 1),
    ],
)
def test_the_exit_code_tells_how_it_ended(
    changes: dict[str, Any], code: int, tmp_path: Path
) -> None:
    result = make_result(load_space(write_space(tmp_path), "laptop"), tmp_path)
    assert cli.exit_code(replace(result, **changes)) == code


def test_wandb_runs_beside_the_search_when_asked(
    searched: list[dict[str, Any]],
    storage: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert cli.main(["--space", "quick.yaml", "--storage", str(storage)]) == 0
    runs = sorted((storage / "quick-x" / "wandb").glob("offline-run-*"))
    assert len(runs) == 4
    shown = capsys.readouterr().out
    assert "wandb       offline, group quick-x" in shown
    assert "wandb sync" in shown


@pytest.mark.filterwarnings("default::hpcm.evaluation.image_sets.SkippedImages")
def test_skipped_images_are_one_line(
    searched: list[dict[str, Any]],
    storage: Path,
    image_folder: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = image_folder("mine")
    (folder / "torn.png").write_bytes((folder / "000.png").read_bytes()[:100])
    monkeypatch.setattr(watch, "seconds_of_an_epoch", lambda space: image_set("mine").count)
    assert cli.main(["--space", "quick.yaml", "--dry-run"]) == 0
    shown = [line for line in capsys.readouterr().out.splitlines() if "skipped" in line]
    assert len(shown) == 1
    assert shown[0].startswith("warning: image set 'mine': 1 image skipped: torn.png: ")
