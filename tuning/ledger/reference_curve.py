"""The reference curve of an experiment, and how much more rate than it a trial needs.

A cost at one lmbda has its minimum on a codec's own RD curve at one point, so it ranks operating
points: whatever moves along the curve pays for it although nothing got worse. So a trial is judged
by the rate that the baseline needs for the trial's quality. The baseline is trained at several
lmbda (the reference runs) in the same experiment, for the same epochs, on the same data.

At an epoch the curve is log2 of the rate over the quality, piecewise linear through the points of
the reference runs, extended at either end by half of its own span, at most 1 dB:

    delta_rate = 100 (R_trial / R_reference(quality_trial) - 1), in percent; negative is better.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

DELTA_RATE = "delta_rate"
LEAST_SPAN = 0.2  # dB between the lowest and the highest quality
MOST_EXTENSION = 1.0  # dB beyond either end


@dataclass(frozen=True)
class RatePoint:
    """What one reference run reached at one epoch."""

    lmbda: float
    rate: float  # bits per pixel
    quality: float  # dB


@dataclass(frozen=True)
class ReferenceCurve:
    """Rate over quality at one epoch; ``reason`` says why there is none."""

    points: tuple[RatePoint, ...] = ()  # by lmbda
    reason: str | None = None

    @classmethod
    def through(cls, points: Sequence[RatePoint]) -> ReferenceCurve:
        """The curve through these points, or why they make none."""
        ordered = tuple(sorted(points, key=lambda point: point.lmbda))
        if len(ordered) < 3:
            return cls(reason=f"{len(ordered)} reference runs; three or more make a curve")
        for low, high in zip(ordered, ordered[1:], strict=False):
            for name, unit in (("rate", "bpp"), ("quality", "dB")):
                before, after = getattr(low, name), getattr(high, name)
                if not (math.isfinite(before) and math.isfinite(after) and after > before):
                    return cls(
                        reason=f"the {name} does not rise from lmbda {low.lmbda:g}"
                        f" ({before:.4g} {unit}) to {high.lmbda:g} ({after:.4g} {unit})"
                    )
        span = ordered[-1].quality - ordered[0].quality
        if ordered[0].rate <= 0:
            return cls(reason=f"a rate of {ordered[0].rate:g} bpp at lmbda {ordered[0].lmbda:g}")
        if span < LEAST_SPAN:
            return cls(reason=f"the qualities span {span:.3f} dB; {LEAST_SPAN:g} are needed")
        return cls(ordered)

    @property
    def defined(self) -> bool:
        """Whether there is a curve."""
        return self.reason is None

    def range(self) -> tuple[float, float]:
        """The qualities that it answers for, in dB, the extension included."""
        low, high = self.points[0].quality, self.points[-1].quality
        more = min((high - low) / 2, MOST_EXTENSION)
        return low - more, high + more

    def rate(self, quality: float) -> float | None:
        """The baseline's bits per pixel at a quality; None beyond the range."""
        low, high = self.range()
        if not low <= quality <= high:
            return None
        qualities = [point.quality for point in self.points]
        index = min(max(bisect_right(qualities, quality), 1), len(qualities) - 1)
        left, right = self.points[index - 1], self.points[index]
        share = (quality - left.quality) / (right.quality - left.quality)
        return 2 ** ((1 - share) * math.log2(left.rate) + share * math.log2(right.rate))

    def delta_rate(self, rate: float, quality: float) -> float | None:
        """Percent of rate above the baseline's at the same quality; None if it cannot be said."""
        if not self.defined or not (math.isfinite(rate) and math.isfinite(quality)):
            return None
        reference = self.rate(quality)
        return None if reference is None else 100 * (rate / reference - 1)


@dataclass
class References:
    """The reference runs of an experiment as they report, and their curve at each epoch."""

    rate: str  # metric
    quality: str  # metric
    lmbdas: dict[int, float] = field(default_factory=dict)  # by trial
    failed: dict[int, tuple[int, str]] = field(default_factory=dict)  # by trial: after, reason
    _points: dict[int, dict[int, RatePoint]] = field(default_factory=dict)  # by epoch, by trial
    _curves: dict[int, ReferenceCurve] = field(default_factory=dict)  # by epoch, once settled

    def report(self, trial: int, metrics: Mapping[str, float]) -> None:
        """A reference run's epoch."""
        epoch = int(metrics["epoch"])
        if self.rate in metrics and self.quality in metrics:
            point = RatePoint(self.lmbdas[trial], metrics[self.rate], metrics[self.quality])
            self._points.setdefault(epoch, {})[trial] = point
            self._curves.pop(epoch, None)

    def fail(self, trial: int, epochs: int, reason: str) -> None:
        """A reference run ended after ``epochs``: beyond them there is no curve."""
        self.failed[trial] = epochs, reason

    def reopen(self, trial: int) -> None:
        """It goes on after all."""
        self.failed.pop(trial, None)
        self._curves.clear()

    def curve(self, epoch: int) -> ReferenceCurve | None:
        """The curve at an epoch, or why there is none; None: the runs have not been there yet."""
        if epoch not in self._curves:
            found = self._settled(epoch)
            if found is None:
                return None
            self._curves[epoch] = found
        return self._curves[epoch]

    def _settled(self, epoch: int) -> ReferenceCurve | None:
        there = self._points.get(epoch, {})
        for trial, (epochs, reason) in self.failed.items():
            if epochs < epoch and trial not in there:
                lmbda = self.lmbdas[trial]
                return ReferenceCurve(
                    reason=f"the reference run at lmbda {lmbda:g} (trial {trial}) failed: {reason}"
                )
        if not self.lmbdas or self.lmbdas.keys() - there.keys():
            return None
        return ReferenceCurve.through(list(there.values()))
