"""Flat configs of a search space: drawn at random, or enumerated."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Any

from tuning.spaces.coordinates import Coordinate, Suggest
from tuning.spaces.space import SearchSpace


def draw(space: SearchSpace, generator: random.Random) -> dict[str, Any]:
    """One flat config, each active coordinate from its distribution."""
    return space.walk(lambda coordinate: draw_one(coordinate, generator))


def draw_one(coordinate: Coordinate, generator: random.Random) -> Any:
    """One value of ``coordinate``."""
    if coordinate.type == "categorical":
        return generator.choice(coordinate.choices)
    return coordinate.at(generator.random())


def total_trials(space: SearchSpace) -> int:
    """Trials of the whole budget; no more than there are different configs."""
    trials = space.budget.trials
    if is_finite(space):
        return sum(1 for _ in combinations(space, most=trials))
    return trials


def is_finite(space: SearchSpace) -> bool:
    """Whether there are only so many configs: no parameter is a continuous number."""
    return all(coordinate.type != "float" for coordinate in space.coordinates())


def combinations(space: SearchSpace, most: int | None = None) -> Iterator[dict[str, Any]]:
    """The first ``most`` combinations of choices and whole numbers; floats stay at their prior."""
    counter: list[tuple[Coordinate, int]] = []  # the discrete coordinates of one walk, as digits
    for _ in range(most) if most is not None else itertools.count():
        seen: list[tuple[Coordinate, int]] = []
        yield space.walk(_counting(counter, seen))
        while seen and seen[-1][1] + 1 == len(_options(seen[-1][0])):
            seen.pop()
        if not seen:
            return
        coordinate, digit = seen.pop()
        counter = [*seen, (coordinate, digit + 1)]


def _counting(counter: list[tuple[Coordinate, int]], seen: list[tuple[Coordinate, int]]) -> Suggest:
    """A ``suggest`` that follows ``counter``, then takes first options; all go into ``seen``."""

    def suggest(coordinate: Coordinate) -> Any:
        if coordinate.type == "float":
            return coordinate.prior
        digit = counter[len(seen)][1] if len(seen) < len(counter) else 0
        seen.append((coordinate, digit))
        return _options(coordinate)[digit]

    return suggest


def _options(coordinate: Coordinate) -> tuple[Any, ...] | range:
    if coordinate.type == "categorical":
        return coordinate.choices
    assert coordinate.low is not None
    assert coordinate.high is not None
    return range(int(coordinate.low), int(coordinate.high) + 1)
