"""BD-rate: how much less rate a codec needs than an anchor at equal quality, in percent.

Bjontegaard 2001 (VCEG-M33): the log rate of each curve as a function of quality is interpolated and
averaged over the qualities both curves reach. The package ``bjontegaard`` integrates; here stands
what it does not check: a curve whose quality does not rise with its rate, or curves that hardly
share a quality, give no number but a reason. All points of both curves take part.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from hpcm.evaluation.results import Results
from hpcm.schema import ConfigError, did_you_mean

#: pchip and akima go through every point; cubic is a polynomial of degree 3 in least squares, the
#: original form, and suits curves of four points only.
Method = Literal["pchip", "akima", "cubic"]

MIN_POINTS = 4
MIN_OVERLAP = 0.5  # of the shorter curve's range of quality

#: metric of a comparison: (key in a results file, whether it must be turned into dB first), by rank
_KEYS = {
    "psnr": (("psnr-rgb", False), ("psnr", False)),
    "ms_ssim_db": (("ms-ssim-rgb-db", False), ("ms-ssim-rgb", True), ("ms-ssim", True)),
}


class BDRateError(ConfigError):
    """Two curves between which no BD-rate exists; the message says why."""


@dataclass(frozen=True)
class Curve:
    """Points of one codec: bits per pixel, and quality in dB, in order of rising rate."""

    name: str
    bpp: tuple[float, ...]
    quality: tuple[float, ...]

    @classmethod
    def of(cls, name: str, bpp: Sequence[float], quality: Sequence[float]) -> Curve:
        """A curve from points in any order.

        Raises :class:`BDRateError` for fewer than four points, for values that are not finite,
        and where quality does not rise strictly with rate.
        """
        points = sorted(zip(bpp, quality, strict=True))
        if len(points) < MIN_POINTS:
            raise BDRateError(f"{name}: {len(points)} points; a BD-rate needs {MIN_POINTS} or more")
        for rate, value in points:
            if not (math.isfinite(rate) and math.isfinite(value) and rate > 0):
                raise BDRateError(f"{name}: the point {rate} bpp, {value} dB is not usable")
        for (rate, value), (next_rate, next_value) in zip(points, points[1:], strict=False):
            if not (next_rate > rate and next_value > value):
                raise BDRateError(
                    f"{name}: quality does not rise with rate: {value:.4f} dB at {rate:.4f} bpp, "
                    f"then {next_value:.4f} dB at {next_rate:.4f} bpp"
                )
        return cls(name, tuple(r for r, _ in points), tuple(v for _, v in points))


@dataclass(frozen=True)
class Comparison:
    """A BD-rate and what it rests on."""

    anchor: str
    test: str
    metric: str
    method: str
    bd_rate: float  # percent, negative where the test needs less rate
    bd_quality: float | None  # dB gained at equal rate; None where the curves share no rate
    low: float  # dB, the range of quality compared
    high: float  # dB


def compare(
    anchor: Results, test: Results, metric: str = "psnr", method: Method = "pchip"
) -> Comparison:
    """The BD-rate of ``test`` against ``anchor``, both measured on one image set.

    ``metric`` is ``psnr`` or ``ms_ssim_db``. Raises :class:`BDRateError` where the sets differ, a
    curve lacks the metric, or :func:`bd_rate` refuses.
    """
    if metric not in _KEYS:
        raise ConfigError(f"metric {metric!r} is unknown{did_you_mean(metric, _KEYS)}")
    if anchor.dataset and test.dataset and anchor.dataset != test.dataset:
        raise BDRateError(
            f"{anchor.name} was measured on '{anchor.dataset}', {test.name} on '{test.dataset}'"
        )
    one, other = _curve(anchor, metric), _curve(test, metric)
    low, high = _shared(one, other)
    return Comparison(
        anchor=anchor.name,
        test=test.name,
        metric=metric,
        method=method,
        bd_rate=bd_rate(one, other, method),
        bd_quality=bd_quality(one, other, method) if _share_rate(one, other) else None,
        low=low,
        high=high,
    )


def bd_rate(anchor: Curve, test: Curve, method: Method = "pchip") -> float:
    """Mean difference in rate at equal quality, in percent; negative where ``test`` needs less.

    Raises :class:`BDRateError` where the curves share less than half of the shorter one's range of
    quality, :class:`ConfigError` for an unknown method or without the package.
    """
    _shared(anchor, test)
    return _integrate("bd_rate", anchor, test, method)


def bd_quality(anchor: Curve, test: Curve, method: Method = "pchip") -> float:
    """Mean difference in quality at equal rate, in dB; positive where ``test`` is better.

    Raises :class:`BDRateError` where the curves share no rate.
    """
    if not _share_rate(anchor, test):
        raise BDRateError(f"{anchor.name} and {test.name} share no rate")
    return _integrate("bd_psnr", anchor, test, method)


def _integrate(function: str, anchor: Curve, test: Curve, method: Method) -> float:
    if method not in get_args(Method):
        raise ConfigError(f"method {method!r} is unknown{did_you_mean(method, get_args(Method))}")
    try:
        import bjontegaard
    except ImportError:
        raise ConfigError(
            "a BD-rate needs the package bjontegaard: pip install 'hpcm-tune[extras]'"
        ) from None
    curves = (anchor.bpp, anchor.quality, test.bpp, test.quality)
    value = getattr(bjontegaard, function)(
        *curves, method=method, require_matching_points=False, min_overlap=0
    )
    return float(value)


def _share_rate(anchor: Curve, test: Curve) -> bool:
    return anchor.bpp[0] < test.bpp[-1] and test.bpp[0] < anchor.bpp[-1]


def _shared(anchor: Curve, test: Curve) -> tuple[float, float]:
    """The range of quality, in dB, that both curves reach."""
    low = max(anchor.quality[0], test.quality[0])
    high = min(anchor.quality[-1], test.quality[-1])
    shorter = min(curve.quality[-1] - curve.quality[0] for curve in (anchor, test))
    if high - low < MIN_OVERLAP * shorter:
        spans = [f"{c.name} {c.quality[0]:.2f} to {c.quality[-1]:.2f} dB" for c in (anchor, test)]
        raise BDRateError(f"too little quality in common: {', '.join(spans)}")
    return low, high


def _curve(results: Results, metric: str) -> Curve:
    for key, linear in _KEYS[metric]:
        if key in results.results:
            values = results.results[key]
            quality = [_decibel(value) for value in values] if linear else values
            return Curve.of(results.name, results.results["bpp"], quality)
    raise BDRateError(f"{results.name}: has no {metric}; its metrics: {', '.join(results.results)}")


def _decibel(similarity: float) -> float:
    return -10 * math.log10(1 - similarity) if similarity < 1 else math.inf
