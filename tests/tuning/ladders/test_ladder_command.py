"""`python -m tuning ladder` from its words to its exit code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import synthetic_image
from tests.tuning.ladders.small_ladder import LMBDAS, config_file, score, trained
from tests.tuning.lr_space import lr_space
from tuning import cli, watch
from tuning.__main__ import main
from tuning.ladders import command, request
from tuning.ledger.folders import write_experiment
from tuning.ledger.ledger import read_trials
from tuning.results.ladder import read_verdict
from tuning.spaces.ladder_space import LadderSpace

pytestmark = pytest.mark.usefixtures("few_draws")

NAME = "best-ladder-x"


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A ladder of eight runs, on a machine without a GPU, judged on two images."""
    from PIL import Image

    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr(watch, "seconds_of_an_epoch", lambda space: 90.0)
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(2):
        Image.fromarray(synthetic_image(64, 64, index)).save(folder / f"{index}.png")
    lmbdas = [f"{lmbda}" for lmbda in LMBDAS]
    given = ["ladder", str(config_file(tmp_path)), "--lmbdas", *lmbdas, "--seeds", "1"]
    return [*given, "--images", str(folder), "--storage", str(tmp_path / "storage")]


@pytest.fixture
def clocked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """Runs train against a clock, and are scored by a formula; ``fails`` and ``stop_after``."""
    how: dict[str, Any] = {"started": []}

    def run(space: LadderSpace, *, storage: str, resume: str | None, **given: Any) -> Any:
        directory = Path(storage) / (resume or NAME)
        keys = {key: how[key] for key in ("fails", "stop_after") if key in how}
        how["started"].append(trained(directory, space, **keys))
        write_experiment(directory, space, experiment=directory.name, **given["provenance"])
        info = SimpleNamespace(name=directory.name)
        return SimpleNamespace(info=info, interrupted="stop_after" in how, error=None)

    def scores(sets: Sequence[Any], runs: Sequence[Any], *_: Any) -> None:
        score(sets[0].folder.parents[1], runs, dict.fromkeys(LMBDAS, 2.0))

    monkeypatch.setattr(command, "run_experiment", run)
    monkeypatch.setattr(command, "score_runs", scores)
    return how


def test_a_dry_run_says_the_hours_and_creates_nothing(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "2 configs x 4 lmbda x 1 seed: 8 runs of 2 epochs" in printed
    assert "16 epochs, 0.4 CPU-hours by 90.0 s an epoch measured here" in printed
    assert "balancer.name famo" in printed
    assert "photos (2); estimated rate" in printed
    assert not (tmp_path / "storage").exists()


def test_from_words_to_a_verdict(
    words: list[str], tmp_path: Path, clocked: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "photos: best against baseline, PSNR: BD-rate -2.00 % [" in printed
    assert "lmbda 0.0032: -2.00 %" in printed
    directory = tmp_path / "storage" / NAME
    assert (directory / "ladder" / "rd.svg").read_text().startswith("<?xml")
    assert (directory / "ladder" / "bd_rate.csv").is_file()
    verdict = read_verdict(directory)
    assert verdict is not None
    assert verdict["sets"][0]["dataset"] == "photos"


def test_a_later_seed_trains_only_its_runs(
    words: list[str], tmp_path: Path, clocked: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    main(words)
    storage = ["--storage", str(tmp_path / "storage")]
    capsys.readouterr()
    assert main(["ladder", "--resume", "last", "--seeds", "2", *storage]) == 0
    assert "16 runs of 2 epochs, 8 of them done" in capsys.readouterr().out
    assert [sorted(started) for started in clocked["started"]] == [
        list(range(8)),
        list(range(8, 16)),
    ]
    assert main(["ladder", "--resume", "last", *storage]) == 0  # nothing is left: no search
    assert len(clocked["started"]) == 2
    assert "no epoch to train" in capsys.readouterr().out


def test_an_interrupted_one_says_how_it_goes_on(
    words: list[str], tmp_path: Path, clocked: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    clocked["stop_after"] = 5
    assert main(words) == 130
    assert f"python -m tuning ladder --resume {NAME}" in capsys.readouterr().out
    del clocked["stop_after"]
    assert main(["ladder", "--resume", NAME, "--storage", str(tmp_path / "storage")]) == 0
    runs = read_trials(tmp_path / "storage" / NAME)
    assert [run.state for run in runs] == ["finished"] * 8


def test_one_whose_run_failed(
    words: list[str], clocked: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    clocked["fails"] = [5]
    assert main(words) == 1
    printed = capsys.readouterr().out
    assert "PSNR: no BD-rate, " in printed
    assert "best at lmbda 0.0016, seed 1: failed (trial 5): val_rd_cost is nan" in printed


@pytest.mark.parametrize(
    ("left_out", "message"),
    [("--lmbdas", "--lmbdas: missing"), ("--images", "--images: missing")],
)
def test_what_is_missing(
    words: list[str], left_out: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    at = words.index(left_out)
    end = next(i for i in range(at + 1, len(words)) if words[i].startswith("--"))
    assert main([*words[:at], *words[end:]]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("--seeds 1 1", "--seeds 1 1: must be different numbers\n"),
        ("--lmbdas 0.1 0.2 0.10", "--lmbdas 0.1 0.2 0.1: must be different numbers\n"),
        (
            "--against basline",
            "--against basline: no such file; must be baseline or a run",
        ),
    ],
)
def test_what_is_refused(
    words: list[str], given: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, *given.split()]) == 2
    assert capsys.readouterr().err.startswith(message)


def test_a_config_that_no_search_has_written_yet(
    words: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    missing = tmp_path / "phase3.laptop.yaml"
    assert main([words[0], str(missing), *words[2:]]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"{missing}: there is no such run config; a search writes its best one")
    assert str(config_file(tmp_path)) in told.partition("there are ")[2]

    best = tmp_path / "search_spaces" / "best"
    best.mkdir(parents=True)
    config_file(best, "phase1")
    monkeypatch.setattr(request, "SHIPPED", best.parent)
    monkeypatch.chdir(tmp_path)
    assert main([words[0], "search_spaces/best/x.yaml", *words[2:]]) == 2
    assert capsys.readouterr().err.endswith("; there are search_spaces/best/phase1.yaml\n")


def test_images_that_a_config_has_seen_are_warned_about(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    at = words.index("--images") + 1
    assert main([*words[:at], "sample_val", *words[at + 1 :], "--dry-run"]) == 0
    assert "warning: sample_val judges, and best trains or validates on it" in (
        capsys.readouterr().out
    )


def test_a_search_is_no_ladder_and_the_other_way_round(
    words: list[str], tmp_path: Path, clocked: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    storage = tmp_path / "storage"
    main(words)
    write_experiment(storage / "rates-x", lr_space(tmp_path))
    assert main(["ladder", "--resume", "rates-x", "--storage", str(storage)]) == 2
    assert "rates-x: a search; python tune.py --resume rates-x" in capsys.readouterr().err
    assert cli.main(["--resume", NAME, "--storage", str(storage)]) == 2
    assert f"a ladder; python -m tuning ladder --resume {NAME}" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(600)
def test_a_real_one_of_hpcm_tiny(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trained for an epoch from the shipped weights at four lmbda, coded to bytes, judged."""
    words = ["ladder", str(config_file(tmp_path, epochs=1)), "--seeds", "1", "--real"]
    words += ["--lmbdas", *map(str, LMBDAS), "--images", "sample_val"]
    assert main([*words, "--storage", str(tmp_path / "storage")]) == 0
    printed = capsys.readouterr().out
    for metric in ("PSNR", "MS-SSIM"):
        assert f"sample_val: best against baseline, {metric}: BD-rate" in printed
    verdict = read_verdict(next((tmp_path / "storage").iterdir()))
    assert verdict is not None
    (found,) = verdict["sets"]
    assert [len(curve["points"]) for curve in found["curves"]] == [4, 4]
    assert abs(found["metrics"][0]["bd_rate"]) < 50
