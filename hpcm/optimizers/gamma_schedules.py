"""How the decay of the weight logits (gamma) changes over a run, for one gamma or one per scale.

A schedule gives ratios to the configured gammas. Times are fractions of the horizon, or of 3000
epochs under the published clock (:class:`hpcm.schedules.Clock`). The ``adaptive`` ones need the
losses of past epochs, which :class:`hpcm.optimizers.gamma_memory.GammaMemory` keeps.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Discriminator, Tag

from hpcm.schedules import Clock, clamp, cosine, linear
from hpcm.schema import bounded, by_name, config_class


@config_class
class FixedGamma:
    """gamma stays as configured."""

    name: Literal["fixed"] = "fixed"

    def factors(self, clock: Clock) -> tuple[float, ...]:
        """One ratio for every gamma."""
        return (1.0,)


@config_class
class LinearGamma:
    """gamma falls in a straight line after a warm-up."""

    name: Literal["linear"] = "linear"
    final: float = 0.2  # ratio to gamma at the end, in (0, 1]
    warmup: float = 100 / 3000  # fraction of the horizon, in [0, 1)

    def __post_init__(self) -> None:
        _check_final(self.final)
        _check_warmup(self.warmup)

    def factors(self, clock: Clock) -> tuple[float, ...]:
        """One ratio for every gamma."""
        return (linear(clock.after(self.warmup), self.final),)


@config_class
class CosineGamma:
    """gamma falls along half a cosine wave after a warm-up."""

    name: Literal["cosine"] = "cosine"
    final: float = 0.2  # ratio to gamma at the end, in (0, 1]
    warmup: float = 100 / 3000  # fraction of the horizon, in [0, 1)

    def __post_init__(self) -> None:
        _check_final(self.final)
        _check_warmup(self.warmup)

    def factors(self, clock: Clock) -> tuple[float, ...]:
        """One ratio for every gamma."""
        return (cosine(clock.after(self.warmup), self.final),)


@config_class
class StepGamma:
    """gamma is multiplied at each milestone, down to a floor."""

    name: Literal["step"] = "step"
    final: float = 0.2  # floor, ratio to gamma, in (0, 1]
    step: float = 0.5  # factor per milestone, in (0, 1)
    milestones: tuple[float, ...] = (1000 / 3000, 2000 / 3000, 2500 / 3000)  # fractions, ascending

    def __post_init__(self) -> None:
        _check_final(self.final)
        if not 0 < self.step < 1:
            raise ValueError(f"step is {self.step}; must be in (0, 1)")
        if list(self.milestones) != sorted(set(self.milestones)) or not self.milestones:
            raise ValueError(f"milestones are {list(self.milestones)}; must ascend")
        if not 0 < self.milestones[0] <= self.milestones[-1] < 1:
            raise ValueError(f"milestones are {list(self.milestones)}; must be in (0, 1)")

    def factors(self, clock: Clock) -> tuple[float, ...]:
        """One ratio for every gamma."""
        passed = sum(clock.now >= milestone for milestone in self.milestones)
        return (max(self.step**passed, self.final),)


@config_class
class HpcmGamma:
    """gamma halves at 1/6, 1/2 and 11/12 of the horizon (epochs 500, 1500, 2750 of 3000)."""

    name: Literal["hpcm"] = "hpcm"

    def factors(self, clock: Clock) -> tuple[float, ...]:
        """One ratio for every gamma."""
        return (0.5 ** sum(clock.now >= m for m in (500 / 3000, 1500 / 3000, 2750 / 3000)),)


@config_class
class AdaptiveGamma:
    """Cosine, times ``down`` where the loss of late epochs is flat, ``up`` where it is noisy."""

    name: Literal["adaptive"] = "adaptive"
    final: float = 0.2  # ratio to gamma at the end of the cosine and floor, in (0, 1]
    warmup: float = 100 / 3000  # fraction of the horizon, in [0, 1); losses before it do not count
    window: float = (
        50 / 3000
    )  # fraction of the horizon, in (0, 1): epochs the variation is taken over
    flat: float = 0.01  # coefficient of variation below which ``down`` applies
    noisy: float = 0.05  # coefficient of variation above which ``up`` applies
    down: float = 0.8  # factor, in (0, 1)
    up: float = 1.2  # factor, above 1
    ceiling: float = 1.5  # ratio to gamma, 1 or more

    def __post_init__(self) -> None:
        _check_final(self.final)
        _check_warmup(self.warmup)
        _check_adaptive(self)

    def factor(self, clock: Clock, losses: Sequence[float]) -> float:
        """The ratio, given the losses of the epochs since the warm-up. Does not compound."""
        ratio = cosine(clock.after(self.warmup), self.final)
        window = window_epochs(self.window, clock)
        if clock.now >= self.warmup and len(losses) >= window:
            ratio *= reaction(self, variation(losses[-window:], unbiased=False))
        return min(max(ratio, self.final), self.ceiling)


@config_class
class ScaleLinearGamma:
    """Every scale's gamma falls in a straight line."""

    name: Literal["linear"] = "linear"
    final: float = 0.5  # ratio to gamma at the end, in (0, 1]

    def __post_init__(self) -> None:
        _check_final(self.final)

    def factors(self, clock: Clock) -> tuple[float, ...]:
        """One ratio for all three scales."""
        return (linear(clock.after(0.0), self.final),)


@config_class
class ScaleCosineGamma:
    """Every scale's gamma falls along half a cosine wave."""

    name: Literal["cosine"] = "cosine"
    final: float = 0.5  # ratio to gamma at the end, in (0, 1]

    def __post_init__(self) -> None:
        _check_final(self.final)

    def factors(self, clock: Clock) -> tuple[float, ...]:
        """One ratio for all three scales."""
        return (cosine(clock.after(0.0), self.final),)


@config_class
class ScaleAdaptiveGamma:
    """Each scale's gamma times ``down`` (flat loss) or ``up`` (noisy loss), epoch after epoch."""

    name: Literal["adaptive"] = "adaptive"
    final: float = 0.5  # floor, ratio to gamma, in (0, 1]
    window: float = (
        50 / 3000
    )  # fraction of the horizon, in (0, 1): epochs the variation is taken over
    flat: float = 0.01  # coefficient of variation below which ``down`` applies
    noisy: float = 0.05  # coefficient of variation above which ``up`` applies
    down: float = 0.95  # factor per epoch, in (0, 1)
    up: float = 1.02  # factor per epoch, above 1
    ceiling: float = 1.5  # ratio to gamma, 1 or more

    def __post_init__(self) -> None:
        _check_final(self.final)
        _check_adaptive(self)

    def next_ratio(self, ratio: float, clock: Clock, losses: Sequence[float]) -> float:
        """One epoch's change of one scale's ratio, given all its losses so far. Compounds."""
        window = window_epochs(self.window, clock)
        if clock.epoch <= window or len(losses) < window:
            return ratio
        ratio *= reaction(self, variation(losses[-window:], unbiased=True))
        return min(max(ratio, self.final), self.ceiling)


@config_class
class HierarchicalGamma:
    """Coarse scales first: s1's gamma high early, s2's in the middle, s3's late."""

    name: Literal["hierarchical"] = "hierarchical"

    def factors(self, clock: Clock) -> tuple[float, ...]:
        """One ratio per scale; the published clock goes on beyond 3000 epochs, to below 0."""
        now = clock.now if clock.published else clamp(clock.now)
        start, end, first, last = next(s for s in _STAGES if now < s[1] or s is _STAGES[-1])
        u = (now - start) / (end - start)
        return tuple(a + (b - a) * u for a, b in zip(first, last, strict=True))


# start, end (fractions), ratios of (s1, s2, s3) at the start and at the end of a stage;
# the ends are epochs 300, 1500, 2500 and 3000 of 3000.
_STAGES = (
    (0.0, 300 / 3000, (1.0, 0.8, 0.6), (1.2, 0.8, 0.6)),
    (300 / 3000, 1500 / 3000, (1.2, 0.8, 0.6), (0.9, 1.1, 1.0)),
    (1500 / 3000, 2500 / 3000, (0.9, 1.1, 1.0), (0.7, 0.8, 1.1)),
    (2500 / 3000, 1.0, (0.7, 0.8, 1.1), (0.5, 0.5, 1.3)),
)

GammaSchedule = Annotated[
    Annotated[FixedGamma, Tag("fixed")]
    | Annotated[LinearGamma, Tag("linear")]
    | Annotated[CosineGamma, Tag("cosine")]
    | Annotated[StepGamma, Tag("step")]
    | Annotated[AdaptiveGamma, Tag("adaptive")]
    | Annotated[HpcmGamma, Tag("hpcm")],
    Discriminator(by_name("fixed")),
]

ScaleGammaSchedule = Annotated[
    Annotated[FixedGamma, Tag("fixed")]
    | Annotated[ScaleLinearGamma, Tag("linear")]
    | Annotated[ScaleCosineGamma, Tag("cosine")]
    | Annotated[ScaleAdaptiveGamma, Tag("adaptive")]
    | Annotated[HierarchicalGamma, Tag("hierarchical")],
    Discriminator(by_name("hierarchical")),
]


def window_epochs(window: float, clock: Clock) -> int:
    """A window in epochs; at least 3, for fewer say nothing about variation."""
    return max(3, round(window * clock.unit))


def variation(losses: Sequence[float], unbiased: bool) -> float:
    """Standard deviation over mean."""
    deviation = statistics.stdev(losses) if unbiased else statistics.pstdev(losses)
    return deviation / (statistics.fmean(losses) + 1e-8)


def reaction(schedule: AdaptiveGamma | ScaleAdaptiveGamma, cv: float) -> float:
    """``down`` for a flat loss, ``up`` for a noisy one, else 1."""
    if cv < schedule.flat:
        return schedule.down
    return schedule.up if cv > schedule.noisy else 1.0


def _check_final(final: float) -> None:
    if not 0 < final <= 1:
        raise ValueError(f"final is {final}; must be in (0, 1]")


def _check_warmup(warmup: float) -> None:
    if not 0 <= warmup < 1:
        raise ValueError(f"warmup is {warmup}; must be in [0, 1)")


def _check_adaptive(schedule: AdaptiveGamma | ScaleAdaptiveGamma) -> None:
    if not 0 < schedule.window < 1:
        raise ValueError(f"window is {schedule.window}; must be in (0, 1)")
    if not 0 < schedule.flat < schedule.noisy:
        raise ValueError(
            f"flat is {schedule.flat}, noisy {schedule.noisy}; must be 0 < flat < noisy"
        )
    if not 0 < schedule.down < 1 < schedule.up:
        raise ValueError(f"down is {schedule.down}, up {schedule.up}; must be 0 < down < 1 < up")
    bounded(schedule, "ceiling", least=1)
