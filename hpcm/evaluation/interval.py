"""How far a BD-rate would move with other images and other trainings: a paired bootstrap.

Each draw takes seeds with replacement, then images with replacement, the same for anchor and test,
and computes the statistic on the mean curves. The images of a draw are the same for all of its
seeds, because every seed was scored on the same images (the crossed design of Owen 2007, "The
pigeonhole bootstrap"): images drawn anew inside every seed would make their share of the spread
smaller the more seeds there are, and the interval too narrow. Of n seeds or images n - 1 are drawn,
so that the variance of a draw is the unbiased estimate (Rao and Wu 1988, "Resampling inference with
complex survey data").
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hpcm.evaluation.bd_rate import BDRateError
from hpcm.evaluation.results import Results
from hpcm.evaluation.scores import NoIntervalError, scores_of

DRAWS = 1000
FEWEST_IMAGES = 5  # of 2 images a "95 %" interval holds the truth in 49 of 100 cases, of 5 in 86
LEVEL = 0.95
MAX_DROPPED = 0.05  # share of the draws whose curves do not rise or do not overlap

Points = tuple[Sequence[float], Sequence[float]]  # bits per pixel and dB, as the file orders them
Statistic = Callable[[Points, Points], Sequence[float]]


@dataclass(frozen=True)
class Interval:
    """The middle 95 % of a bootstrap's draws."""

    low: float
    high: float
    images: int
    seeds: int  # of the test; 1: the interval says nothing of other trainings
    paired: bool  # anchor and test have the same seeds, drawn together
    draws: NDArray[np.float64]  # (DRAWS,) the statistic of each; NaN if it does not exist

    def __str__(self) -> str:
        return ends_text(self.ends)

    @property
    def ends(self) -> tuple[float, float]:
        """Its two ends."""
        return self.low, self.high

    @property
    def basis(self) -> str:
        """What was drawn, in words."""
        if self.seeds == 1:
            return f"{self.images} images; one seed, so the spread between trainings is not in it"
        pairs = "paired by seed" if self.paired else "not paired by seed"
        return f"{self.images} images and {self.seeds} seeds, {pairs}"


def ends_text(ends: Sequence[float]) -> str:
    """An interval by its two ends: ``[-2.10, +0.30]``."""
    return f"[{ends[0]:+.2f}, {ends[1]:+.2f}]"


def doubt(ends: Sequence[float] | None) -> str:
    """What stands behind a difference whose 95 % interval has these ends; often nothing."""
    return ": not distinguishable from none" if ends and ends[0] <= 0 <= ends[1] else ""


def bootstrap(
    anchor: Results, test: Results, metric: str, statistic: Statistic, size: int
) -> list[Interval | None]:
    """An interval of each of the ``size`` values that ``statistic(anchor, test)`` gives.

    None for a value that is NaN, or whose statistic raises BDRateError, in more than 5 % of the
    draws. The draws are the same in every call for one set of images, and those of seeds the same
    for all sets. Raises :class:`NoIntervalError` if a file has no values per image, if the images
    of the two differ, or if they are fewer than 5.
    """
    one, other = scores_of(anchor, metric), scores_of(test, metric)
    if one.images != other.images:
        raise NoIntervalError(f"{anchor.name} and {test.name} were not scored on the same images")
    if len(one.images) < FEWEST_IMAGES:
        raise NoIntervalError(
            f"{len(one.images)} of the {FEWEST_IMAGES} images or more that an interval needs"
        )
    paired = bool(one.seeds) and one.seeds == other.seeds
    by_image = _weights(np.random.default_rng([1, _number(anchor.dataset)]), len(one.images))
    by_seed = _weights(np.random.default_rng(2), other.bpp.shape[1])
    of_anchor = by_seed if paired else _weights(np.random.default_rng(3), one.bpp.shape[1])
    pairs = zip(
        zip(*one.curve(of_anchor, by_image), strict=True),
        zip(*other.curve(by_seed, by_image), strict=True),
        strict=True,
    )
    drawn = np.array([_values(statistic, *pair, size) for pair in pairs])  # (DRAWS, size)
    return [_percentiles(values, len(one.images), other.bpp.shape[1], paired) for values in drawn.T]


def mean_interval(intervals: Sequence[Interval]) -> Interval | None:
    """The interval of the mean over sets of images that were scored with the same trainings."""
    draws = np.mean([interval.draws for interval in intervals], axis=0)
    return _percentiles(
        draws,
        sum(interval.images for interval in intervals),
        min(interval.seeds for interval in intervals),
        all(interval.paired for interval in intervals),
    )


def _values(statistic: Statistic, anchor: Points, test: Points, size: int) -> Sequence[float]:
    try:
        return statistic(anchor, test)
    except BDRateError:
        return [math.nan] * size


def _percentiles(
    draws: NDArray[np.float64], images: int, seeds: int, paired: bool
) -> Interval | None:
    kept = draws[np.isfinite(draws)]
    if len(kept) < (1 - MAX_DROPPED) * len(draws):
        return None
    low, high = np.quantile(kept, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high), images, seeds, paired, draws)


def _weights(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """The share of each of ``count`` in what was drawn: (DRAWS, count), rows of sum 1."""
    drawn = max(count - 1, 1)
    return rng.multinomial(drawn, np.full(count, 1 / count), size=DRAWS) / drawn


def _number(text: str) -> int:
    return zlib.crc32(text.encode())
