"""The benchmark of fresh seeds on simulated searches."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.fresh_seeds import search_row, summarize
from hpcm.schema import ConfigError
from tuning import load_space
from tuning.results.outcome import ExperimentResult
from tuning.simulation.experiment import simulate_experiment

CONFIRM = ["confirm.top=1", "confirm.seeds=[11,12]"]


def search(folder: Path, *overrides: str) -> ExperimentResult:
    space = load_space("phase3", "laptop", ["budget.trials=6", *overrides])
    return simulate_experiment(space, "family:noisy", storage=str(folder))


def test_the_best_of_a_search_is_paired_with_the_baseline_by_seed(tmp_path: Path) -> None:
    row = search_row(search(tmp_path, *CONFIRM))
    on_fresh = row["on_fresh_seeds"]
    assert all(list(values) == [11, 12] for values in on_fresh.values())
    assert set(on_fresh) == {"best", "prior", "baseline"}
    numbers = summarize([row])["best against baseline"]
    gains = [on_fresh["best"][seed] - on_fresh["baseline"][seed] for seed in (11, 12)]
    assert numbers["pairs"] == 2
    assert numbers["ahead"] == sum(gain < 0 for gain in gains)
    assert numbers["difference_percent"][0] == pytest.approx(sum(gains) / 2, abs=1e-3)


def test_how_often_and_how_far_ahead() -> None:
    rows = [
        {
            "best_on_its_own_seed": own,
            "on_fresh_seeds": {"best": {1: best}, "prior": {1: 0.0}, "baseline": {1: 1.0}},
        }
        for own, best in ((-1.0, -0.5), (-2.0, 0.5), (-3.0, 1.5))
    ]
    numbers = summarize(rows)
    assert numbers["best against baseline"]["ahead"] == 2
    assert numbers["best against prior"]["ahead"] == 1
    assert numbers["best against baseline"]["difference_percent"][0] == pytest.approx(-0.5)
    assert numbers["optimism of the own seed"][0] == pytest.approx(-2.5)
    low, high = numbers["best against baseline"]["share_ahead"][1:]
    assert (low, high) == (0.094, 0.992)  # Clopper and Pearson, 2 of 3


def test_a_search_without_confirmation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"not confirmed; --resume .* --set confirm\.top=1"):
        search_row(search(tmp_path))
