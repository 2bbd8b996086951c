"""The rate saved at every point of a curve, at that point's quality.

A BD-rate is one number over the whole curve; here it is seen whether low and high rates agree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hpcm.evaluation.bd_rate import Curve
from hpcm.evaluation.comparison import check_same_images
from hpcm.evaluation.curves import over_seeds
from hpcm.evaluation.interval import Interval, Points, bootstrap
from hpcm.evaluation.results import Results
from hpcm.evaluation.scores import NoIntervalError, points_of
from hpcm.schema import ConfigError

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
        return [_saving(curve, rate, db)[0] for rate, db in zip(*of_test, strict=True)]

    curve = Curve.of(anchor.name, *of_anchor, least=2)
    count = len(of_test[0])
    try:
        intervals: list[Interval | None] = bootstrap(anchor, test, metric, statistic, size=count)
    except NoIntervalError:
        intervals = [None] * count
    order = sorted(range(count), key=lambda index: of_test[0][index])
    savings = []
    for position, index in enumerate(order, 1):
        percent, extended = _saving(curve, of_test[0][index], of_test[1][index])
        known = math.isfinite(percent)
        savings.append(
            RateSaving(
                position=position,
                lmbda=_lmbda(test, index),
                quality=of_test[1][index],
                percent=percent if known else None,
                extended=extended,
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


def _saving(anchor: Curve, rate: float, quality: float) -> tuple[float, bool]:
    """Percent saved at ``quality``, and whether that is beyond the anchor's points; NaN if far."""
    low, high = anchor.quality[0], anchor.quality[-1]
    beyond = max(low - quality, quality - high, 0.0)
    if not (beyond <= min(MAX_EXTENSION, (high - low) / 2) and rate > 0):
        return math.nan, True
    if beyond > 0:
        logs = np.log(anchor.bpp)
        i, j = (0, 1) if quality < low else (-1, -2)
        slope = (logs[i] - logs[j]) / (anchor.quality[i] - anchor.quality[j])
        at_quality = float(logs[i] + slope * (quality - anchor.quality[i]))
    else:
        at_quality = _interpolate(anchor, quality)
    return -100 * math.expm1(math.log(rate) - at_quality), beyond > 0


def _interpolate(curve: Curve, quality: float) -> float:
    """The log rate at a quality inside the curve's range."""
    try:
        from scipy.interpolate import PchipInterpolator
    except ImportError:
        raise ConfigError(
            "a rate at equal quality needs the package scipy: pip install 'hpcm-tune[extras]'"
        ) from None
    return float(PchipInterpolator(curve.quality, np.log(curve.bpp))(quality))


def _lmbda(results: Results, index: int) -> float | None:
    points = results.points
    value = points[index].get("lmbda") if len(points) == len(results.results["bpp"]) else None
    return float(value) if isinstance(value, int | float) else None


def _excludes_zero(saving: RateSaving) -> bool:
    interval = saving.interval
    return interval is not None and (interval.low > 0 or interval.high < 0)


def _listed(side: Sequence[RateSaving]) -> str:
    return ", ".join(f"{s.label} ({abs(s.percent or 0):.2f} %)" for s in side)
