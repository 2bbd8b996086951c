"""The difference in rate at every point of a curve, at that point's quality.

A BD-rate is one number over the whole curve; this shows whether low and high rates agree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hpcm.evaluation.bd_rate import Curve
from hpcm.evaluation.comparison import check_same_images
from hpcm.evaluation.curves import over_seeds
from hpcm.evaluation.interval import Interval, Points, bootstrap, ends_text
from hpcm.evaluation.results import Results
from hpcm.evaluation.scores import NoIntervalError, points_of
from hpcm.extra_packages import require

Array = NDArray[np.float64]

TITLE = "rate difference at equal quality (negative: less rate)"
MAX_EXTENSION = 1.0  # dB, and half of the anchor's range of quality


@dataclass(frozen=True)
class RateDifference:
    """How much more rate one point of the test needs than the anchor's curve at equal quality."""

    position: int  # 1 is the lowest rate
    lmbda: float | None  # None if the file does not say
    quality: float  # dB
    percent: float | None  # of the anchor's rate, negative if less is needed; None: out of reach
    extended: bool  # the quality is beyond the anchor's points
    interval: Interval | None = None

    @property
    def label(self) -> str:
        """``lmbda 0.013``, or ``point 3`` if lmbda is not known."""
        return f"point {self.position}" if self.lmbda is None else f"lmbda {self.lmbda:g}"


def rate_differences(anchor: Results, test: Results, metric: str = "psnr") -> list[RateDifference]:
    """The difference at every point of ``test``, in order of rate; see :class:`RateDifference`.

    The anchor's log rate is interpolated over quality (PCHIP), and beyond its points goes on along
    its last segment, by at most half of its range and at most 1 dB. Intervals are there if both
    files have values per image. Raises :class:`BDRateError` if the anchor is no rising curve of two
    points or more, :class:`ConfigError` as :func:`compare` does.
    """
    anchor, test = over_seeds(anchor), over_seeds(test)
    check_same_images(anchor, test)
    of_anchor, of_test = points_of(anchor, metric), points_of(test, metric)

    def statistic(of_anchor: Points, of_test: Points) -> list[float]:
        curve = Curve.of(anchor.name, *of_anchor, least=2)
        return [*_percents(curve, of_test)]

    curve = Curve.of(anchor.name, *of_anchor, least=2)
    count = len(of_test[0])
    try:
        intervals: list[Interval | None] = bootstrap(anchor, test, metric, statistic, size=count)
    except NoIntervalError:
        intervals = [None] * count
    percents, beyond = _percents(curve, of_test), _beyond(curve, np.asarray(of_test[1]))
    differences = []
    for position, index in enumerate(sorted(range(count), key=lambda i: of_test[0][i]), 1):
        known = math.isfinite(percents[index])
        differences.append(
            RateDifference(
                position=position,
                lmbda=_lmbda(test, index),
                quality=of_test[1][index],
                percent=float(percents[index]) if known else None,
                extended=bool(beyond[index] > 0),
                interval=intervals[index] if known else None,
            )
        )
    return differences


def sign_change(differences: Sequence[RateDifference]) -> str:
    """A sentence if some points need less rate and others need more, else nothing."""
    less = [d for d in differences if d.percent is not None and d.percent < 0]
    more = [d for d in differences if d.percent is not None and d.percent > 0]
    if not less or not more:
        return ""
    sides = {"less": less, "more": more}
    unsure = [name for name, side in sides.items() if not any(_excludes_zero(d) for d in side)]
    known = any(d.interval for d in differences)
    trust = ""
    if known and not unsure:
        trust = " Intervals on both sides exclude 0."
    elif known:
        where = f'"{unsure[0]} rate"' if len(unsure) == 1 else "both sides"
        trust = f" All intervals of {where} hold 0, so the change of sign may be chance."
    return f"The sign changes: less rate at {_listed(less)}; more rate at {_listed(more)}.{trust}"


def row_text(
    percent: float | None, quality: float, ends: Sequence[float] | None, extended: bool
) -> str:
    """A difference with its interval, or why it is not known."""
    if percent is None:
        return f"not known, {quality:.2f} dB is out of the anchor's reach"
    spread = f" {ends_text(ends)}" if ends else ""
    return f"{percent:+.2f} %{spread}{', beyond the points of the anchor' if extended else ''}"


def _percents(anchor: Curve, test: Points) -> Array:
    """Percent by which each of the test's points needs more, (n,); NaN if it is out of reach."""
    rates, qualities = (np.asarray(values, dtype=np.float64) for values in test)
    reach = min(MAX_EXTENSION, (anchor.quality[-1] - anchor.quality[0]) / 2)
    known = (_beyond(anchor, qualities) <= reach) & (rates > 0)
    logs = _log_rates(anchor, np.where(known, qualities, anchor.quality[0]))
    return np.where(known, 100 * np.expm1(np.log(np.where(known, rates, 1)) - logs), np.nan)


def _beyond(anchor: Curve, quality: Array) -> Array:
    """How far, in dB, qualities lie outside of the anchor's points; 0 inside, NaN for NaN."""
    low, high = anchor.quality[0], anchor.quality[-1]
    return np.maximum(np.maximum(low - quality, quality - high), 0)


def _log_rates(curve: Curve, quality: Array) -> Array:
    """The log rate of a curve at qualities (n,): PCHIP, and beyond its points straight on."""
    pchip = require("scipy.interpolate", "scipy", "a rate at equal quality").PchipInterpolator
    logs, own = np.log(curve.bpp), np.asarray(curve.quality)
    inside = np.clip(quality, own[0], own[-1])
    first, last = np.diff(logs)[[0, -1]] / np.diff(own)[[0, -1]]  # log rate per dB
    outside = np.minimum(quality - own[0], 0) * first + np.maximum(quality - own[-1], 0) * last
    return np.asarray(pchip(own, logs)(inside) + outside, dtype=np.float64)


def _lmbda(results: Results, index: int) -> float | None:
    points = results.points
    value = points[index].get("lmbda") if len(points) == len(results.results["bpp"]) else None
    return float(value) if isinstance(value, int | float) else None


def _excludes_zero(difference: RateDifference) -> bool:
    interval = difference.interval
    return interval is not None and (interval.low > 0 or interval.high < 0)


def _listed(side: Sequence[RateDifference]) -> str:
    return ", ".join(f"{d.label} ({abs(d.percent or 0):.2f} %)" for d in side)
