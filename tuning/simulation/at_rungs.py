"""A search whose trials report only at its rungs: the same rules for a hundredth of the work.

What a scheduler compares, a searcher learns last and a confirmation ends with are all at rungs. So
a space with rungs 111, 333, 999 is simulated as one with rungs 1, 3, 9, whose epochs stand for 111
epochs each; the last stands for what is left. Two things are drawn or measured anew: who goes on by
lot, which is drawn by the epoch, and what a searcher is told of a diverged run, the worst of all
reports.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tuning.simulation.sources import Source
from tuning.spaces.space import SearchSpace


def space_at_rungs(space: SearchSpace) -> SearchSpace:
    """The space with the same number of rungs and the fewest epochs that have it."""
    fidelity = {"name": "epochs", "min": 1, "max": _simulated(space), "schedule_horizon": "max"}
    return SearchSpace.from_plain(space.to_plain() | {"fidelity": fidelity})


class AtRungs:
    """The source of ``space`` as `space_at_rungs` asks it; ``scale`` times as many seconds."""

    def __init__(self, space: SearchSpace, source: Source, scale: float = 1.0) -> None:
        self.source, self.scale, self.compared = source, scale, space.compared
        first, most, simulated = space.rungs()[0], space.fidelity.max, _simulated(space)
        self.epochs = [min(first * epoch, most) for epoch in range(simulated)] + [most]

    def report(self, params: Mapping[str, Any], seed: int, epoch: int) -> Mapping[str, float]:
        """What the epoch reports for which this one stands."""
        return self.source.report(params, seed, self.epochs[epoch])

    def seconds(self, params: Mapping[str, Any], epoch: int) -> float:
        """The seconds of all the epochs for which this one stands, each as long as the last."""
        before, at = self.epochs[epoch - 1 : epoch + 1]
        trained = self._ends(params, before, at) - before
        return trained * self.scale * self.source.seconds(params, at)

    def _ends(self, params: Mapping[str, Any], before: int, at: int) -> int:
        """The epoch at which a run ends that diverges after ``before``; else ``at``."""
        if before == at or not self._diverged(params, at):
            return at
        while at - before > 1:
            middle = (before + at) // 2
            before, at = (before, middle) if self._diverged(params, middle) else (middle, at)
        return at

    def _diverged(self, params: Mapping[str, Any], epoch: int) -> bool:
        report = self.source.report(params, 0, epoch)
        return not all(math.isfinite(report[name]) for name in self.compared if name in report)


def _simulated(space: SearchSpace) -> int:
    """Epochs of a whole trial: the rungs below it are powers of the reduction factor from 1."""
    halvings = len(space.rungs()) - 1
    return int(space.scheduler.reduction_factor**halvings)
