"""`objective.pareto`: the trials that no other one beats in both metrics."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tuning.ledger.records import TrialRecord
from tuning.results.constraints import feasible
from tuning.spaces.sections import LARGER_IS_BETTER
from tuning.spaces.space import SearchSpace


def pareto_front(trials: Sequence[TrialRecord], space: SearchSpace) -> list[TrialRecord]:
    """The front of the trials at the maximum fidelity that keep the constraints, by first metric.

    Of trials with equal metrics the first is shown.
    """
    metrics = space.objective.pareto
    level = [
        trial
        for trial in trials
        if trial.state == "finished"
        and all(math.isfinite(trial.last.get(metric, math.nan)) for metric in metrics)
        and feasible(trial, space.objective)
    ]
    if not metrics:
        return []
    points = [(_point(trial, metrics), trial) for trial in level]
    front, best = [], float("inf")
    for (_first, second), trial in sorted(points, key=lambda one: (one[0], one[1].number)):
        if second < best:
            front.append(trial)
            best = second
    return front


def _point(trial: TrialRecord, metrics: Sequence[str]) -> tuple[float, float]:
    """Both metrics, smaller being better."""
    first, second = (
        -trial.last[metric] if metric in LARGER_IS_BETTER else trial.last[metric]
        for metric in metrics
    )
    return first, second
