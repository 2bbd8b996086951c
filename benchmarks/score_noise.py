"""Do scores of averaged weights rank trials better? Raw against EMA, by searches without stops.

Two experiments of the same configs on different seeds, for example

    for seed in 0 1; do python tune.py --space phase3 --profile laptop --storage runs --set \\
        scheduler.name=fifo searcher.name=random budget.trials=24 base.seed=$seed; done
    python -m benchmarks score_noise NAME NAME  # as each search prints it

For the weights as trained and for their average: how far a trial's cost moves from one epoch to the
next, and how well the scores at a rung rank the scores at the end, of the same run and of the other
seed's; rank correlations with bootstrap intervals over the configs.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median, stdev
from typing import Any

import numpy as np
from scipy.stats import bootstrap, kendalltau, spearmanr

from benchmarks.record import write_record
from tuning.ledger.folders import find, read_experiment, storage_folder
from tuning.ledger.ledger import Ledger
from tuning.ledger.records import TrialRecord
from tuning.ledger.reference_curve import References

WEIGHTS = {"raw": "val_", "ema": "val_ema_"}  # and what begins the names of their metrics
CORRELATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "kendall": lambda a, b: kendalltau(a, b).statistic,
    "spearman": lambda a, b: spearmanr(a, b).statistic,
}
RESAMPLES = 2000  # of the bootstrap
EARLY = (1, 3)  # epochs at which the laptop profile compares trials
Scores = dict[int, dict[int, float]]  # by trial, by epoch


class Run:
    """One experiment: its trials' costs and rates at equal quality, by kind of weights."""

    def __init__(self, directory: Path) -> None:
        self.space = read_experiment(directory)
        ledger = Ledger(directory)
        trials, references = ledger.records(), ledger.reference_runs()
        self.configs = {
            trial.number: tuple(sorted((k, str(v)) for k, v in trial.params.items()))
            for trial in trials
        }
        self.cost = {w: _costs(trials, f"{prefix}rd_cost") for w, prefix in WEIGHTS.items()}
        self.delta = {w: _deltas(trials, references, prefix) for w, prefix in WEIGHTS.items()}


def _costs(trials: Sequence[TrialRecord], metric: str) -> Scores:
    return {
        trial.number: {int(r["epoch"]): r[metric] for r in trial.reports if metric in r}
        for trial in trials
    }


def _deltas(
    trials: Sequence[TrialRecord], references: Sequence[TrialRecord], prefix: str
) -> Scores:
    """Where the reference runs make a curve."""
    curves = References(f"{prefix}bpp", f"{prefix}psnr")
    curves.lmbdas = {run.number: run.lmbda for run in references if run.lmbda is not None}
    for run in references:
        for report in run.reports:
            curves.report(run.number, report)
    found: Scores = {trial.number: {} for trial in trials}
    for trial in trials:
        for report in trial.reports:
            curve = curves.curve(int(report["epoch"]))
            if curve is not None and curves.rate in report:
                value = curve.delta_rate(report[curves.rate], report[curves.quality])
                if value is not None:
                    found[trial.number][int(report["epoch"])] = value
    return found


def correlations(early: Sequence[float], late: Sequence[float]) -> dict[str, list[float]]:
    """Each correlation as [value, lower, upper]: a 95 % bootstrap over the pairs."""
    found = {}
    for name, correlation in CORRELATIONS.items():
        drawn = bootstrap(
            (np.array(early), np.array(late)),
            correlation,
            paired=True,
            vectorized=False,
            method="percentile",
            n_resamples=RESAMPLES,
            rng=np.random.default_rng(0),
        ).confidence_interval
        value = float(correlation(early, late))
        found[name] = [round(x, 3) for x in (value, float(drawn.low), float(drawn.high))]
    return found


def steps_between_epochs(scores: Scores) -> float:
    """Median over trials of the standard deviation of a score's change from epoch to epoch."""
    changes = [
        [after - before for before, after in pairwise(curve.values())] for curve in scores.values()
    ]
    return median(stdev(change) for change in changes if len(change) > 1)


def measure(runs: Sequence[Run]) -> dict[str, Any]:
    """All numbers."""
    numbers: dict[str, Any] = {"trials": [len(run.configs) for run in runs]}
    for weights in WEIGHTS:
        found: dict[str, Any] = {
            "sd_of_rd_cost_between_epochs": [
                round(steps_between_epochs(run.cost[weights]), 5) for run in runs
            ]
        }
        for epoch in EARLY:
            for name, pairs in _pairs(runs, weights, epoch).items():
                if len(pairs) > 3:
                    first, last = zip(*pairs, strict=True)
                    found[f"epoch {epoch} with the end, {name}"] = {
                        "n": len(pairs),
                        **correlations(first, last),
                    }
        between = _end_pairs(runs, weights)
        if len(between) > 3:
            first, second = zip(*between, strict=True)
            changes = [a - b for a, b in between]
            found["the end with the end, other seed"] = {
                "n": len(between),
                **correlations(first, second),
                "sd_of_one_seed": round(stdev(changes) / 2**0.5, 3),
            }
        numbers[weights] = found
    return numbers


def _end_pairs(runs: Sequence[Run], weights: str) -> list[tuple[float, float]]:
    """The rate differences, in percent, of each config at the end of the first two experiments."""
    if len(runs) < 2:
        return []
    first, second = _ends(runs[:2], weights)
    return [(first[config], second[config]) for config in first if config in second]


def _ends(runs: Sequence[Run], weights: str) -> list[dict[Any, float]]:
    """The rate differences at the end of each experiment, by config."""
    last = runs[0].space.fidelity.max
    return [
        {run.configs[n]: curve[last] for n, curve in run.delta[weights].items() if last in curve}
        for run in runs
    ]


def _pairs(runs: Sequence[Run], weights: str, epoch: int) -> dict[str, list[tuple[float, float]]]:
    """(score at ``epoch``, score at the end), of one seed and across seeds."""
    found: dict[str, list[tuple[float, float]]] = {"same seed": [], "other seed": []}
    ends = _ends(runs, weights)
    for run, own in zip(runs, ends, strict=True):
        for number, curve in run.delta[weights].items():
            for end in ends:
                if epoch in curve and run.configs[number] in end:
                    kind = "same seed" if end is own else "other seed"
                    found[kind].append((curve[epoch], end[run.configs[number]]))
    return found


def main(arguments: Sequence[str]) -> None:
    """Print the numbers and write them to ``results/bench/score_noise-cpu.json``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiments", nargs="+", help="names, or folders")
    parser.add_argument("--storage", default="runs", help="where the experiments are")
    options = parser.parse_args(arguments)
    folder = storage_folder(options.storage, write=False)
    numbers = measure([Run(find(folder, name)) for name in options.experiments])
    for weights in WEIGHTS:
        print(weights)
        for name, value in numbers[weights].items():
            print(f"  {name}: {value}")
    write_record("score_noise", "cpu", {"experiments": options.experiments, **numbers})
