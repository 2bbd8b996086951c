"""The rate saved at every point of a curve, at that point's quality.

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
from hpcm.evaluation.interval import Interval, Points, bootstrap
from hpcm.evaluation.results import Results
from hpcm.evaluation.scores import NoIntervalError, points_of
from hpcm.extra_packages import require

Array = NDArray[np.float64]

MAX_EXTENSION = 1.0  # dB, and half of the anchor's range of quality


@dataclass(frozen=True)
class RateSaving:
    """What one point of the test saves against the anchor's curve at equal quality."""

    position: int  # 1 is the lowest rate
    lmbda: float | None  # None if the file does not say
    quality: float  # dB
    percent: float | None  # of the anchor's rate, positive if less is needed; None: out of reach
    extended: bool  # the quality is beyond the anchor's points
    interval: Interval | None = None

    @property
    def label(self) -> str:
        """``lmbda 0.013``, or ``point 3`` if lmbda is not known."""
        return f"point {self.position}" if self.lmbda is None else f"lmbda {self.lmbda:g}"


def rate_savings(anchor: Results, test: Results, metric: str = "psnr") -> list[RateSaving]:
    """The saving at every point of ``test``, in order of rate; see :class:`RateSaving`.

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
    savings = []
    for position, index in enumerate(sorted(range(count), key=lambda i: of_test[0][i]), 1):
        known = math.isfinite(percents[index])
        savings.append(
            RateSaving(
                position=position,
                lmbda=_lmbda(test, index),
                quality=of_test[1][index],
                percent=float(percents[index]) if known else None,
                extended=bool(beyond[index] > 0),
                interval=intervals[index] if known else None,
            )
        )
    return savings


def sign_change(savings: Sequence[RateSaving]) -> str:
    """A sentence if some points save rate and others need more, else nothing."""
    saved = [s for s in savings if s.percent is not None and s.percent > 0]
    lost = [s for s in savings if s.percent is not None and s.percent < 0]
    if not saved or not lost:
        return ""
    sure = [any(_excludes_zero(s) for s in side) for side in (saved, lost)]
    known = any(s.interval for s in savings)
    trust = ""
    if known and all(sure):
        trust = " Intervals on both sides exclude 0."
    elif known:
        trust = " The intervals of one side all hold 0, so this may be chance."
    return f"The sign changes: less rate at {_listed(saved)}; more rate at {_listed(lost)}.{trust}"


def _percents(anchor: Curve, test: Points) -> Array:
    """Percent saved by each of the test's points, (n,); NaN if its quality is out of reach."""
    rates, qualities = (np.asarray(values, dtype=np.float64) for values in test)
    reach = min(MAX_EXTENSION, (anchor.quality[-1] - anchor.quality[0]) / 2)
    known = (_beyond(anchor, qualities) <= reach) & (rates > 0)
    logs = _log_rates(anchor, np.where(known, qualities, anchor.quality[0]))
    return np.where(known, -100 * np.expm1(np.log(np.where(known, rates, 1)) - logs), np.nan)


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


def _excludes_zero(saving: RateSaving) -> bool:
    interval = saving.interval
    return interval is not None and (interval.low > 0 or interval.high < 0)


def _listed(side: Sequence[RateSaving]) -> str:
    return ", ".join(f"{s.label} ({abs(s.percent or 0):.2f} %)" for s in side)
