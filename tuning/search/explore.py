"""PBT's explore step on a search space: mutable values move within their bounds, on their scale."""

from __future__ import annotations

import random
from typing import Any

from tuning.ledger.records import TrialRecord
from tuning.spaces.coordinates import Coordinate
from tuning.spaces.draws import draw_one
from tuning.spaces.space import SearchSpace


class Perturbation:
    """Jaderberg et al. 2017, section 4.1.1: perturb and resample.

    On a log scale a value is multiplied by ``1 - step`` or ``1 + step``; on a linear one it moves
    by ``step`` of its range, so that 0 is no trap; a whole number moves by one at least. It stops
    at its bounds. With the probability ``resample`` it is drawn afresh from its distribution
    instead; a choice, which has no neighbours, changes only so. A value that is exactly 0 by its
    `zero` stays 0, and a simplex moves by its sticks.
    """

    def __init__(self, space: SearchSpace, step: float, resample: float) -> None:
        self.space, self.step, self.resample = space, step, resample

    def explored(self, donor: TrialRecord, level: int, generator: random.Random) -> dict[str, Any]:
        """The donor's flat config with new values of what is mutable."""

        def suggest(coordinate: Coordinate) -> Any:
            value = donor.params[coordinate.path]
            if not coordinate.mutable:
                return value
            if generator.random() < self.resample:
                return draw_one(coordinate, generator)
            if coordinate.type == "categorical":
                return value
            return self._moved(coordinate, value, generator.choice((-1, 1)))

        return self.space.walk(suggest)

    def _moved(self, coordinate: Coordinate, value: float, sign: int) -> float | int:
        """One step down or up."""
        low, high = coordinate.low, coordinate.high
        assert low is not None
        assert high is not None
        if coordinate.log:
            moved = value * (1 + sign * self.step)
        else:
            moved = value + sign * self.step * (high - low)
        if coordinate.type == "int":
            moved = round(moved)
            moved += sign * (moved == value)
        return min(max(moved, low), high)
