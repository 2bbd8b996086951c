"""Proposals around the prior config: the hand-tuned values are the best guess there is at first.

A share of the proposals is drawn around the prior, the others by the searcher. The share falls with
the number n of trials that have a result,

    share(n) = prior_share * prior_trials / (prior_trials + n),

so half of ``prior_share`` is left after ``prior_trials`` results, and a misleading prior costs ever
less. That evidence displaces the prior as 1 / n is the rule of pi-BO (Hvarfner et al. 2022: the
prior is raised to the power beta / n). That each value is changed with probability 1/2, a number by
a normal distribution of 0.25 of its range, is how PriorBand (Mallik et al. 2023) goes on from its
incumbent. Of many parameters few matter: if all are changed at once, the config is nearly always
worse than the one that it is around (docs/log.md).

How one coordinate is drawn if it is changed: a number from a normal distribution around its
prior on its own (linear or log) scale, truncated to the range; with a simplex that scale is the
fraction of what is left, on which all shares are equally likely. A choice, or a coin that decides
between zero and a value, from its distribution, so that the prior's is the most likely one however
many there are. If the prior config gives a number no value (it is zero), the distribution itself
is used.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping
from statistics import NormalDist
from typing import Any

from tuning.search.sampler_section import SamplerSection
from tuning.spaces.coordinates import Coordinate, Suggest
from tuning.spaces.draws import draw_one
from tuning.spaces.space import SearchSpace

KEPT = 0.5  # probability that a coordinate is the prior's without a draw
KEPT_OF_BEST = 0.75  # and that it is the best trial's
WIDTH_OF_BEST = 0.25  # standard deviation around its values, as a share of a range
MOST_DRAWS = 20  # of one proposal, if the first ones were tried before


def prior_share(section: SamplerSection, results: int) -> float:
    """The probability that a proposal is drawn around the prior after ``results`` results."""
    return section.prior_share * section.prior_trials / (section.prior_trials + results)


def around_prior(
    space: SearchSpace,
    section: SamplerSection,
    generator: random.Random,
    tried: Collection[dict[str, Any]] = (),
) -> dict[str, Any]:
    """A flat config around the prior, one that is not among ``tried`` if that can be had."""

    def suggest(coordinate: Coordinate) -> Any:
        if coordinate.has_no_prior:
            return draw_one(coordinate, generator)
        return near(coordinate, coordinate.prior, section.prior_width, KEPT, generator)

    return _untried(space, suggest, tried)


def around_best(
    space: SearchSpace,
    best: Mapping[str, Any],
    generator: random.Random,
    tried: Collection[dict[str, Any]] = (),
) -> dict[str, Any]:
    """The same around a trial's config; what is not active in it comes from its distribution."""

    def suggest(coordinate: Coordinate) -> Any:
        if not coordinate.contains(best.get(coordinate.path)):
            return draw_one(coordinate, generator)
        return near(coordinate, best[coordinate.path], WIDTH_OF_BEST, KEPT_OF_BEST, generator)

    return _untried(space, suggest, tried)


def _untried(
    space: SearchSpace, suggest: Suggest, tried: Collection[dict[str, Any]]
) -> dict[str, Any]:
    known = [space.sides(flat) for flat in tried]
    for _ in range(MOST_DRAWS):
        flat = space.walk(suggest)
        if space.sides(flat) not in known:
            break
    return flat


def near(
    coordinate: Coordinate, value: Any, width: float, kept: float, generator: random.Random
) -> Any:
    """One value of ``coordinate`` around ``value``, which it is with probability ``kept``."""
    if coordinate.split is not None:
        return _flip(value, coordinate.split, kept, generator)
    if generator.random() < kept:
        return value
    if coordinate.type == "categorical":
        return draw_one(coordinate, generator)
    return coordinate.at(_truncated_normal(coordinate.share(value), width, generator))


def _flip(value: float, split: float, kept: float, generator: random.Random) -> float:
    """A coin: on the side of ``value`` with probability ``kept``, else anywhere."""
    low, high = 0.0, 1.0
    if generator.random() < kept:
        low, high = (0.0, split) if value < split else (split, 1.0)
    return low + (high - low) * generator.random()


def _truncated_normal(mean: float, width: float, generator: random.Random) -> float:
    """A number in [0, 1] of a normal distribution around ``mean``, by its inverse."""
    normal = NormalDist(mean, width)
    low, high = normal.cdf(0.0), normal.cdf(1.0)
    quantile = low + (high - low) * generator.random()
    return min(max(normal.inv_cdf(min(max(quantile, 1e-15), 1 - 1e-15)), 0.0), 1.0)
