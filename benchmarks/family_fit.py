"""What the made-up curves of a family should be like, from an experiment whose trials all ended.

    python -m benchmarks family_fit NAME --storage DIR

Wants random configs that no rung stopped (`scheduler.name=fifo searcher.name=random`) and reference
runs. Prints and records parameters of `tuning.simulation.family.Shape` as they are seen there:

- `spread`: mean percent of rate above the best trial (which is partly luck: rather too much)
- `rise`, of the mean fall of the cost from the first epoch to the last, in percent of the rate, at
  power 0.5; `crossing`, sd of the logs of those falls that are above 0, with how many are
- `noise`: median over trials of the rate difference's distance from lines through its neighbours;
  `averaged`: the same of the cost, averaged weights over raw ones
- `moves`: sd of log2 of the rate at the end; `baseline`: percent that it is worse than the prior

and Kendall's tau of each epoch with the end, as a measure of what rungs say.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from statistics import fmean, median, stdev
from typing import Any

from scipy.stats import kendalltau

from benchmarks.record import write_record
from tuning.ledger.records import TrialRecord
from tuning.ledger.reference_curve import DELTA_RATE
from tuning.results.outlook import move
from tuning.results.tables import read_result
from tuning.spaces.defaults import STORAGE

POWER = 0.5


def fit(trials: Sequence[TrialRecord], most: int) -> dict[str, Any]:
    """The numbers, from trials that came to epoch ``most``; the prior is the first of them."""
    ends = [trial.last[DELTA_RATE] for trial in trials]
    falls = [_fall(trial, most) for trial in trials]
    whole = (1 / most) ** -POWER - 1  # of the power law, from epoch 1 to the last
    rising = [math.log(fall) for fall in falls if fall > 0]
    averaged = _median_move(trials, "val_ema_rd_cost") / _median_move(trials, "val_rd_cost")
    return {
        "n": len(trials),
        "spread": fmean(ends) - min(ends),
        "rise": fmean(falls) / whole,
        "falls_sd": stdev(falls),
        "crossing": stdev(rising),
        "falling": len(rising),
        "noise": _median_move(trials, DELTA_RATE) / averaged,
        "averaged": averaged,
        "moves": stdev(math.log2(trial.last["val_ema_bpp"]) for trial in trials),
        "baseline": -ends[0],
        "tau": {
            epoch: float(kendalltau([t.curve(DELTA_RATE)[epoch] for t in trials], ends)[0])
            for epoch in range(1, most)
        },
    }


def _fall(trial: TrialRecord, most: int) -> float:
    """Of the cost, in percent of the rate: what is worse at equal quality is all rate."""
    cost = trial.curve("val_ema_rd_cost")
    return 100 * (cost[1] - cost[most]) / trial.last["val_ema_bpp"]


def _median_move(trials: Sequence[TrialRecord], metric: str) -> float:
    return median(found for trial in trials if (found := move(trial, metric)) is not None)


def main(arguments: Sequence[str]) -> None:
    """Fit, print and record."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks family_fit")
    parser.add_argument("name", help="of the experiment")
    parser.add_argument("--storage", default=STORAGE)
    options = parser.parse_args(list(arguments))
    result = read_result(options.name, options.storage)
    space = result.info.space
    whole = [t for t in result.trials if len(t.curve(DELTA_RATE)) == space.fidelity.max]
    found = fit(whole, space.fidelity.max)
    for key, value in found.items():
        print(f"{key}: {value}")
    write_record("family_fit", "cpu", {"space": space.name, "digest": space.digest, **found})
