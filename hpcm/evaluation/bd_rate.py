"""BD-rate: how much less rate a codec needs than an anchor at equal quality, in percent.

Bjontegaard 2001 (VCEG-M33): the log rate of each curve as a function of quality is interpolated and
averaged over the qualities both curves reach. The package ``bjontegaard`` integrates; we check what
it does not: a curve whose quality does not rise with its rate, or curves that hardly share a
quality, give no number but a reason. All points of both curves take part.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

from hpcm.extra_packages import require
from hpcm.schema import ConfigError, did_you_mean

#: pchip and akima go through every point; cubic is a polynomial of degree 3 in least squares, the
#: original form, and suits curves of four points only.
Method = Literal["pchip", "akima", "cubic"]

MIN_POINTS = 4
MIN_OVERLAP = 0.5  # of the shorter curve's range of quality


class BDRateError(ConfigError):
    """No BD-rate exists: ``reason`` says why, ``advice`` what to do; the message is both."""

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(f"{reason}; {advice}")
        self.reason, self.advice = reason, advice


@dataclass(frozen=True)
class Curve:
    """Points of one codec: bits per pixel, and quality in dB, in order of rising rate."""

    name: str
    bpp: tuple[float, ...]
    quality: tuple[float, ...]

    @classmethod
    def of(
        cls, name: str, bpp: Sequence[float], quality: Sequence[float], least: int = MIN_POINTS
    ) -> Curve:
        """A curve from points in any order.

        Raises :class:`BDRateError` for fewer than ``least`` points, for values that are not finite,
        for a point given twice, and if quality does not rise strictly with rate.
        """
        points = [(float(rate), float(value)) for rate, value in zip(bpp, quality, strict=True)]
        for rate, value in points:
            if not (math.isfinite(rate) and math.isfinite(value) and rate > 0):
                raise BDRateError(
                    f"{name}: the point {rate} bpp, {value} dB is not usable",
                    "evaluate its checkpoint again, or leave it out if its training diverged",
                )
        points.sort()
        if len(points) < least:
            raise BDRateError(
                f"{name}: {_count(len(points))}; a BD-rate needs {MIN_POINTS} or more",
                f"train and evaluate it at more values of lmbda ({MIN_POINTS - len(points)} more)",
            )
        for point, after in pairwise(points):
            _check_rises(name, *point, *after)
        return cls(name, tuple(r for r, _ in points), tuple(v for _, v in points))


def _check_rises(name: str, rate: float, value: float, next_rate: float, next_value: float) -> None:
    """Between a point and the next of higher rate."""
    if (rate, value) == (next_rate, next_value):
        raise BDRateError(
            f"{name}: the point {rate:.4f} bpp, {value:.4f} dB is there twice",
            "leave one of the two out",
        )
    if not (next_rate > rate and next_value > value):
        raise BDRateError(
            f"{name}: quality does not rise with rate: {value:.4f} dB at {rate:.4f} bpp, "
            f"then {next_value:.4f} dB at {next_rate:.4f} bpp",
            "train both points longer or average more seeds, and leave a point out only if its "
            "training failed",
        )


def _count(points: int) -> str:
    return "1 point" if points == 1 else f"{points} points"


def bd_rate(anchor: Curve, test: Curve, method: Method = "pchip") -> float:
    """Mean difference in rate at equal quality, in percent; negative if ``test`` needs less.

    Raises :class:`BDRateError` if the curves share less than half of the shorter one's range of
    quality, :class:`ConfigError` for an unknown method or without the package.
    """
    shared_quality(anchor, test)
    return _integrate("bd_rate", anchor, test, method)


def bd_quality(anchor: Curve, test: Curve, method: Method = "pchip") -> float:
    """Mean difference in quality at equal rate, in dB; positive if ``test`` is better.

    Raises :class:`BDRateError` if the curves share no rate.
    """
    if not share_rate(anchor, test):
        raise BDRateError(
            f"{anchor.name} and {test.name} share no rate", "compare them by BD-rate alone"
        )
    return _integrate("bd_psnr", anchor, test, method)


def _integrate(function: str, anchor: Curve, test: Curve, method: Method) -> float:
    if method not in get_args(Method):
        raise ConfigError(f"method {method!r} is unknown{did_you_mean(method, get_args(Method))}")
    bjontegaard = require("bjontegaard", "bjontegaard", "a BD-rate")
    curves = (anchor.bpp, anchor.quality, test.bpp, test.quality)
    value = getattr(bjontegaard, function)(
        *curves, method=method, require_matching_points=False, min_overlap=0
    )
    return float(value)


def share_rate(anchor: Curve, test: Curve) -> bool:
    """Whether some rate is inside both curves."""
    return anchor.bpp[0] < test.bpp[-1] and test.bpp[0] < anchor.bpp[-1]


def shared_quality(anchor: Curve, test: Curve) -> tuple[float, float]:
    """The range of quality, in dB, that both curves reach.

    Raises :class:`BDRateError` if that is less than half of the shorter one's.
    """
    low = max(anchor.quality[0], test.quality[0])
    high = min(anchor.quality[-1], test.quality[-1])
    shorter = min(curve.quality[-1] - curve.quality[0] for curve in (anchor, test))
    if high - low < MIN_OVERLAP * shorter:
        spans = [f"{c.name} {c.quality[0]:.2f} to {c.quality[-1]:.2f} dB" for c in (anchor, test)]
        raise BDRateError(
            f"too little quality in common: {', '.join(spans)}",
            "evaluate points between, trained at other values of lmbda, or take another anchor",
        )
    return low, high
