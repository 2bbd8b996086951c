"""How often does the best of a search beat the baseline on a seed that the search did not use?

Several searches of one space that differ in the searcher's seed, each confirmed on fresh seeds:

    python tune.py --space phase3 --profile laptop --storage runs --set confirm.top=1 \\
        confirm.seeds=[11]
    for seed in 1 2 3 4; do python tune.py --space phase3 --profile laptop --storage runs --set \\
        searcher.seed=$seed confirm.top=1 confirm.seeds=[1$((seed + 1))] \\
        objective.reference.experiment=NAME; done  # NAME of the first
    python -m benchmarks fresh_seeds NAME NAME ...

Every pair is one fresh seed of one search: its best trial, the prior left out, and the baseline, in
percent of rate at equal quality.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from statistics import mean
from typing import Any

import numpy as np
from scipy.stats import binomtest, ttest_1samp

from benchmarks.record import write_record
from hpcm.schema import ConfigError
from tuning.results.outcome import ExperimentResult
from tuning.results.tables import read_result


def search_row(result: ExperimentResult) -> dict[str, Any]:
    """What one search found, and what fresh seeds say of it. Raises :class:`ConfigError`."""
    name, confirmed = result.info.name, result.confirmation
    if confirmed is None or not confirmed.complete:
        raise ConfigError(f"{name}: not confirmed; --resume {name} --set confirm.top=1 does it")
    if result.baseline is None:
        raise ConfigError(f"{name}: its objective has no baseline; delta_rate has one")
    prior, baseline, best = confirmed.finalists[:3]  # in this order, as `Confirmation` has them
    metric = result.info.space.objective.score
    return {
        "experiment": name,
        "trials": len(result.trials),
        "epochs": sum(trial.epochs for trial in result.trials),
        "best": best.trial.params,
        "best_on_its_own_seed": round(best.trial.last[metric], 3),
        "prior_on_its_own_seed": round(prior.trial.last[metric], 3),
        "on_fresh_seeds": {
            role: {seed: round(run.last[metric], 3) for seed, run in one.runs.items()}
            for role, one in (("best", best), ("prior", prior), ("baseline", baseline))
        },
    }


def summarize(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Pairs over all searches: how often the best is ahead, and by how much on average."""
    numbers: dict[str, Any] = {}
    for against in ("baseline", "prior"):
        gains = [
            best - row["on_fresh_seeds"][against][seed]
            for row in rows
            for seed, best in row["on_fresh_seeds"]["best"].items()
            if seed in row["on_fresh_seeds"][against]
        ]
        ahead = sum(gain < 0 for gain in gains)
        share = binomtest(ahead, len(gains)).proportion_ci(method="exact")
        numbers[f"best against {against}"] = {
            "pairs": len(gains),
            "ahead": ahead,
            "share_ahead": [round(x, 3) for x in (ahead / len(gains), share.low, share.high)],
            "difference_percent": _with_interval(gains),
        }
    own = [row["best_on_its_own_seed"] for row in rows]
    fresh = [mean(row["on_fresh_seeds"]["best"].values()) for row in rows]
    numbers["optimism of the own seed"] = _with_interval(list(np.subtract(own, fresh)))
    return numbers


def _with_interval(values: Sequence[float]) -> list[float]:
    """The mean with its 95 % interval by Student's t; of one value alone."""
    if len(values) < 2:
        return [round(float(values[0]), 3)]
    interval = ttest_1samp(values, 0.0).confidence_interval()
    return [round(float(x), 3) for x in (mean(values), interval.low, interval.high)]


def main(arguments: Sequence[str]) -> None:
    """Print the searches and the pairs, and write ``results/bench/fresh_seeds-cpu.json``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiments", nargs="+", help="names of searches with confirm")
    parser.add_argument("--storage", default="runs", help="where the experiments are")
    options = parser.parse_args(arguments)
    rows = [search_row(read_result(name, options.storage)) for name in options.experiments]
    numbers = summarize(rows)
    for row in rows:
        print(f"{row['experiment']}: {row['best_on_its_own_seed']} %, {row['on_fresh_seeds']}")
    for name, value in numbers.items():
        print(f"{name}: {value}")
    write_record("fresh_seeds", "cpu", {**numbers, "searches": rows})
