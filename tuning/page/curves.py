"""The points of a learning curve that are drawn, out of all its epochs."""

from __future__ import annotations

import math

from tuning.spaces.space import SearchSpace

MOST_POINTS = 240  # of a curve: about one for every other pixel
DIGITS = 7  # of what is drawn
Point = tuple[int, float]


def thin(curve: dict[int, float], space: SearchSpace, most: int = MOST_POINTS) -> list[int]:
    """The epochs of a curve to draw: about ``most``, the rungs, and the last.

    Half of them lie evenly, half as powers do, so that both scales of the axis have enough.
    """
    epochs = sorted(curve)
    if len(epochs) <= most:
        return epochs
    rungs, last, half = set(space.rungs()), epochs[-1], max(1, most // 2)
    kept: list[int] = []
    places: set[tuple[str, int]] = set()
    for epoch in epochs:
        even = (half * epoch) // last
        power = int(half * math.log(epoch) / math.log(last)) if epoch > 1 else 0
        new = {("even", even), ("power", power)} - places
        if new or epoch in rungs or epoch == last:
            kept.append(epoch)
            places |= new
    return kept


def points(curve: dict[int, float], space: SearchSpace, most: int = MOST_POINTS) -> list[Point]:
    """What is drawn of a curve."""
    epochs = thin(curve, space, min(most, MOST_POINTS))
    return [(epoch, rounded(curve[epoch])) for epoch in epochs]


def rounded(value: float) -> float:
    """As many digits as a drawing shows."""
    return float(f"{value:.{DIGITS}g}")
