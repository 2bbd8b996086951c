"""What the rungs would have saved had they cut from the first trial on: the search's own, replayed.

Pilots, lots and a rung whose order is not believed let trials go on that had lost. Each of them is
cut here at the first rung at which it was never, then or later, among the best 1 / reduction_factor
(:func:`~tuning.results.rank_fidelity.losers_at`). Later proposals stay as they were made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tuning.ledger.records import TrialRecord
from tuning.results.rank_fidelity import Rungs, losers_at
from tuning.spaces.space import SearchSpace


@dataclass(frozen=True)
class Replay:
    """The trials that would have been cut, by the rung, and the device-hours that this saves."""

    cuts: dict[int, int]  # epoch of the rung, by trial
    hours: float


def replay_cuts(trials: Sequence[TrialRecord], rungs: Rungs, space: SearchSpace) -> Replay:
    """The cuts among the trials of a search; none if no rung stops trials, or with `pbt`."""
    if space.scheduler.changes_config:
        return Replay({}, 0.0)
    cuts: dict[int, int] = {}
    for level in space.rungs()[:-1]:
        for number in losers_at(rungs.get(level, {}), space.scheduler.reduction_factor):
            cuts.setdefault(number, level)
    hours = sum(
        trial.cost_hours * (1 - cuts[trial.number] / trial.epochs)
        for trial in trials
        if trial.number in cuts and trial.epochs > cuts[trial.number]
    )
    return Replay(cuts, hours)
