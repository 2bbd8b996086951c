"""From scored runs to curves, BD-rate and what is left out, with the reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hpcm.evaluation.results import Results
from tests.tuning.ladders.small_ladder import LMBDAS, ladder, score, trained
from tuning.__main__ import main
from tuning.ledger.ledger import read_trials
from tuning.results.ladder import (
    judge,
    largest_grid,
    read_verdict,
    run_file,
    verdict_data,
    write_verdict,
)

pytestmark = pytest.mark.usefixtures("few_draws")

GAIN = dict.fromkeys(LMBDAS, 3.0)


def test_a_config_that_needs_three_percent_less(tmp_path: Path) -> None:
    directory, space = tmp_path / "best-ladder-x", ladder(tmp_path)
    trained(directory, space)
    runs = read_trials(directory)
    judged = judge(score(directory, runs, GAIN), space, runs)
    assert judged.left_out == []
    assert [file.name for file in judged.files] == ["baseline.json", "best.json"]
    curve = Results.load(judged.files[1])
    assert curve.results["psnr-rgb"] == sorted(curve.results["psnr-rgb"])
    assert [point["seed"] for point in curve.points] == [[1, 2]] * 4
    data = verdict_data(space, [judged])
    (metric,) = data["sets"][0]["metrics"]
    assert metric["bd_rate"] == pytest.approx(-3.0, abs=0.01)
    assert metric["interval"] == pytest.approx([-3.0, -3.0], abs=0.01)
    assert [one["percent"] for one in metric["differences"]] == pytest.approx([-3.0] * 4, abs=0.01)
    assert metric["sign_change"] == ""
    write_verdict(directory, data)
    assert read_verdict(directory) == json.loads(json.dumps(data))


def test_a_ladder_has_no_best_config_to_export(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "best-ladder-x"
    trained(directory, ladder(tmp_path))
    assert main(["export", directory.name, "--storage", str(tmp_path)]) == 2
    assert "nothing to export, its runs are not ranked; must be a search" in capsys.readouterr().err


def test_low_and_high_rates_that_disagree_are_said(tmp_path: Path) -> None:
    directory, space = tmp_path / "best-ladder-x", ladder(tmp_path)
    trained(directory, space)
    runs = read_trials(directory)
    gain = {**GAIN, LMBDAS[-1]: -2.0}
    data = verdict_data(space, [judge(score(directory, runs, gain), space, runs)])
    found = data["sets"][0]["metrics"][0]["sign_change"]
    assert found.startswith("The sign changes: less rate at lmbda 0.0004 (3.00 %)")
    assert "more rate at lmbda 0.0032 (2.00 %)" in found


def test_a_failed_run_leaves_its_lmbda_out_and_says_why(tmp_path: Path) -> None:
    """Three points make no BD-rate: the refusal says so, and the points are there."""
    directory, space = tmp_path / "best-ladder-x", ladder(tmp_path, seeds=(1,))
    trained(directory, space, fails=[3])
    runs = read_trials(directory)
    judged = judge(score(directory, runs, GAIN), space, runs)
    assert judged.left_out == [
        "baseline at lmbda 0.0008, seed 1: trained, but another config or seed has no run there",
        "best at lmbda 0.0008, seed 1: failed (trial 3): val_rd_cost is nan at epoch 1",
    ]
    (metric,) = verdict_data(space, [judged])["sets"][0]["metrics"]
    assert metric["bd_rate"] is None
    assert "3 points" in metric["refused"]
    assert len(metric["differences"]) == 3


def test_a_half_trained_one_has_the_seed_that_is_whole(tmp_path: Path) -> None:
    directory, space = tmp_path / "best-ladder-x", ladder(tmp_path)
    trained(directory, space, stop_after=22)
    runs = read_trials(directory)
    judged = judge(score(directory, runs, GAIN), space, runs)
    assert [point["seed"] for point in judged.curves["best"].points] == [1] * 4
    assert len(judged.left_out) == 8
    assert "best at lmbda 0.0032, seed 2: not begun" in judged.left_out


def test_without_any_score(tmp_path: Path) -> None:
    directory, space = tmp_path / "best-ladder-x", ladder(tmp_path)
    trained(directory, space, fails=range(16))
    judged = judge(directory / "nothing", space, read_trials(directory))
    assert judged.curves == {}
    assert len(judged.left_out) == 16
    assert verdict_data(space, [judged])["sets"][0]["curves"] == []


def test_a_damaged_file_of_scores_is_named(tmp_path: Path) -> None:
    directory, space = tmp_path / "best-ladder-x", ladder(tmp_path)
    trained(directory, space)
    runs = read_trials(directory)
    folder = score(directory, runs, GAIN)
    run_file(folder, 5).write_text('{"results": {"psnr": [3')
    with pytest.raises(ValueError, match=r"runs/0005\.json"):
        judge(folder, space, runs)


@pytest.mark.parametrize(
    ("cells", "seeds", "lmbdas"),
    [
        ([], set(), set()),
        ([(1, 0.1)], {1}, {0.1}),
        ([(s, x) for s in (1, 2) for x in (0.1, 0.2, 0.3, 0.4)], {1, 2}, {0.1, 0.2, 0.3, 0.4}),
        ([(1, x) for x in (0.1, 0.2, 0.3, 0.4)] + [(2, 0.1)], {1}, {0.1, 0.2, 0.3, 0.4}),
        ([(s, x) for s in (1, 2) for x in (0.1, 0.2)] + [(2, 0.3)], {2}, {0.1, 0.2, 0.3}),
        (
            [(s, x) for s in (1, 2) for x in (0.1, 0.2, 0.3, 0.4)] + [(1, 0.5)],
            {1, 2},
            {0.1, 0.2, 0.3, 0.4},
        ),
    ],
)
def test_the_largest_grid(
    cells: list[tuple[int, float]], seeds: set[int], lmbdas: set[float]
) -> None:
    grid = largest_grid(cells)
    assert {seed for seed, _ in grid} == seeds
    assert {lmbda for _, lmbda in grid} == lmbdas
    assert len(grid) == len(seeds) * len(lmbdas)
