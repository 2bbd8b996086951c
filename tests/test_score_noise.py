"""The benchmark of score noise on two simulated experiments of the same configs."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import score_noise
from benchmarks.score_noise import Run, measure
from tuning import load_space
from tuning.simulation.experiment import simulate_experiment

SPACE = ["scheduler.name=fifo", "searcher.name=random", "budget.trials=6"]


def test_each_config_is_paired_with_itself_on_the_other_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reference runs take numbers between those of the trials."""
    monkeypatch.setattr(score_noise, "RESAMPLES", 20)
    runs = []
    for seed in range(2):
        space = load_space("phase3", "laptop", [*SPACE, f"base.seed={seed}"])
        result = simulate_experiment(space, "family:noisy", storage=str(tmp_path / str(seed)))
        runs.append(Run(result.info.directory))
    assert list(runs[0].configs) == [0, 4, 5, 6, 7, 8]
    assert runs[0].configs == runs[1].configs
    numbers = measure(runs)
    found = numbers["ema"]["epoch 3 with the end, other seed"]
    assert 4 <= found["n"] <= 12
    ends = numbers["raw"]["the end with the end, other seed"]
    assert 4 <= ends["n"] <= 6
    assert (ends["kendall"][0], ends["sd_of_one_seed"]) == (1.0, 0.0)  # a simulation's own seed
    assert all(-1 <= value <= 1 for value in found["kendall"])
