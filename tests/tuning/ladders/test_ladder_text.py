"""A ladder in words: the same in terminal, status, page and report, and what is missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hpcm.schema import ConfigError
from tests.tuning.ladders.small_ladder import LMBDAS, ladder, score, trained
from tuning.__main__ import main
from tuning.ledger.ledger import read_trials
from tuning.page.ladders import ladder_bd_lines, ladders_data
from tuning.results.ladder import judge, read_verdict, verdict_data, write_verdict
from tuning.results.ladder_text import bd_lines, verdict_lines

pytestmark = pytest.mark.usefixtures("few_draws")

NAME = "best-ladder-x"


def verdict(**changes: Any) -> dict[str, Any]:
    """One set in two metrics."""
    psnr = {
        "anchor": "baseline",
        "test": "best",
        "metric": "psnr",
        "bd_rate": -2.0,
        "interval": [-3.0, -1.0],
        "basis": "5 images and 2 seeds, paired by seed",
        "differences": [
            {"label": f"lmbda {x:g}", "quality": 30.0, "percent": -2.0, "extended": False}
            | {"interval": [-3.0, -1.0]}
            for x in LMBDAS
        ],
        "sign_change": "",
    }
    other = psnr | {"metric": "ms_ssim_db", "bd_rate": 0.5, "interval": [-1.0, 2.0]}
    one = {"dataset": "photos", "folder": "photos-estimated", "curves": [{}], "left_out": []}
    return {"sets": [one | {"metrics": [psnr, other]} | changes], "means": []}


def test_both_metrics_have_a_verdict_and_doubt_is_said() -> None:
    lines = verdict_lines(verdict())
    assert lines[0] == "photos: best against baseline, PSNR: BD-rate -2.00 % [-3.00, -1.00]"
    assert lines[1] == "  the 95 % interval is over 5 images and 2 seeds, paired by seed"
    assert lines[2] == "  rate difference at equal quality (negative: less rate):"
    assert lines[3] == "    lmbda 0.0004: -2.00 % [-3.00, -1.00]"
    doubted = "MS-SSIM: BD-rate +0.50 % [-1.00, +2.00]: not distinguishable from none"
    assert lines[7] == f"photos: best against baseline, {doubted}"
    assert [lines[0], lines[7]] == bd_lines(verdict())


def test_what_is_in_no_curve_and_means_stand_at_the_end() -> None:
    found = verdict(left_out=["best at lmbda 0.0016, seed 1: failed"])
    found["means"] = [found["sets"][0]["metrics"][0] | {"dataset": "photos, kodak"}]
    *_, left, mean = verdict_lines(found)
    assert left == "photos-estimated: not in the curve: best at lmbda 0.0016, seed 1: failed"
    assert mean.startswith("mean of photos, kodak: best against baseline, PSNR: BD-rate -2.00 %")


def test_status_of_a_ladder_says_its_verdict_or_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And compares no cost with one at another lmbda."""
    directory, space = tmp_path / NAME, ladder(tmp_path)

    def told() -> str:
        assert main(["status", NAME, "--storage", str(tmp_path)]) == 0
        return capsys.readouterr().out

    trained(directory, space, stop_after=22)
    first = told()
    assert "of 16 runs have finished; runs are scored once all have ended" in first
    assert "vs prior" not in first
    assert "rd_cost" not in first
    assert "seed 1  loss.lmbda 0.0004  config best" in first
    assert first.startswith(f"ladder {NAME}\n")
    assert f"ladder {NAME}: not complete; continue with" in first
    assert "12 runs: 11 finished" in first
    trained(directory, space)
    assert f"none is scored; python -m tuning ladder --resume {NAME} --storage" in told()
    runs = read_trials(directory)
    folder = score(directory, runs, dict.fromkeys(LMBDAS, 3.0))
    write_verdict(directory, verdict_data(space, [judge(folder, space, runs)]))
    last = told()
    assert "photos: best against baseline, PSNR: BD-rate -3.00 % [-3.00, -3.00]\n" in last
    assert "    lmbda 0.0032: -3.00 % [-3.00, -3.00]\n" in last
    verdict = read_verdict(directory)
    assert verdict is not None
    assert ladder_bd_lines(ladders_data(directory, space)) == bd_lines(verdict)


def test_two_sets_have_a_mean_in_each_metric(tmp_path: Path) -> None:
    directory, space = tmp_path / NAME, ladder(tmp_path)
    trained(directory, space)
    runs = read_trials(directory)
    one = judge(score(directory, runs, dict.fromkeys(LMBDAS, 3.0)), space, runs)
    other = judge(score(tmp_path / "y", runs, dict.fromkeys(LMBDAS, 1.0)), space, runs)
    curves = {name: replace(curve, dataset="kodak") for name, curve in other.curves.items()}
    other = replace(other, curves=curves)
    assert (
        "mean of photos, kodak: best against baseline, PSNR: BD-rate -2.00 %"
        in (bd_lines(verdict_data(space, [one, other]))[-1])
    )


def test_the_verdict_of_an_earlier_version_is_read_with_our_signs(tmp_path: Path) -> None:
    """It kept how much rate was saved, and no means."""
    old = verdict()
    for metric in old["sets"][0]["metrics"]:
        metric["savings"] = metric.pop("differences")
        for row in metric["savings"]:
            row |= {"percent": 2.0, "interval": [1.0, 3.0]}
    del old["means"]
    write_verdict(tmp_path, old)
    found = read_verdict(tmp_path)
    assert found is not None
    assert verdict_lines(found) == verdict_lines(verdict())


def test_a_file_that_is_no_verdict_is_said_in_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(tmp_path / NAME, ladder(tmp_path))
    write_verdict(tmp_path / NAME, {})
    with pytest.raises(ConfigError, match=r"verdict\.json: not the verdict of a ladder"):
        read_verdict(tmp_path / NAME)
    assert main(["status", NAME, "--storage", str(tmp_path)]) == 0
    assert "not the verdict of a ladder" in capsys.readouterr().out
