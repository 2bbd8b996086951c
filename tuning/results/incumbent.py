"""The best score so far, over the device-hours that the whole experiment had spent."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tuning.ledger.records import TrialRecord
from tuning.spaces.space import SearchSpace


@dataclass(frozen=True)
class Step:
    """A trial becomes the best."""

    hours: float  # device-hours spent in the whole experiment
    score: float
    trial: int


Timeline = Sequence[tuple[float, int, int]]  # hours spent, trial, epoch: a report each, in order


def incumbent(
    timeline: Timeline, trials: Mapping[int, TrialRecord], space: SearchSpace
) -> tuple[int | None, list[Step]]:
    """The epoch that is compared, and each step down (or up, if more is better).

    The epoch is the latest that any trial of the search has a score at, the maximum fidelity once
    one is there: scores of different epochs do not compare. None and nothing before the first.
    """
    if not space.ranks_trials:
        return None, []
    score, sign = space.objective.score, space.objective.sign
    searched = {number: t for number, t in trials.items() if t.role == "search"}
    epochs = [int(trial.scored(score).get("epoch", 0)) for trial in searched.values()]
    epoch = max(epochs, default=0)
    if not epoch:
        return None, []
    steps: list[Step] = []
    for hours, number, at in timeline:
        if at != epoch or number not in searched or searched[number].state == "failed":
            continue
        value = (searched[number].report_at(epoch) or {}).get(score, math.nan)
        if math.isfinite(value) and (not steps or sign * value < sign * steps[-1].score):
            steps.append(Step(hours, value, number))
    return epoch, steps
