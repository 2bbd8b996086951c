"""The gamma schedules, for one gamma or for one per scale; those that adapt are in gamma_memory.py.

Published for phases 1 and 3 of Balanced R-D for HPCM (public code); ``docs/methods.md``.
"""

from __future__ import annotations

from typing import Literal

from hpcm.optimizers.gamma_memory import (
    AdaptiveGamma,
    GammaMemory,
    GammaSchedule,
    ScaleAdaptiveGamma,
    check_final,
    check_warmup,
)
from hpcm.schedules import Clock, clamp, cosine, linear
from hpcm.schema import config_class


@config_class
class FixedGamma(GammaSchedule):
    """gamma stays as configured."""

    name: Literal["fixed"] = "fixed"

    def factors(self, clock: Clock, memory: GammaMemory) -> tuple[float, ...]:
        """One ratio for every gamma."""
        return (1.0,)


@config_class
class LinearGamma(GammaSchedule):
    """gamma falls in a straight line after a warm-up."""

    name: Literal["linear"] = "linear"
    final: float = 0.2  # ratio to gamma at the end, in (0, 1]
    warmup: float = 100 / 3000  # fraction of the horizon, in [0, 1)

    def __post_init__(self) -> None:
        check_final(self.final)
        check_warmup(self.warmup)

    def factors(self, clock: Clock, memory: GammaMemory) -> tuple[float, ...]:
        """One ratio for every gamma."""
        return (linear(clock.after(self.warmup), self.final),)


@config_class
class CosineGamma(GammaSchedule):
    """gamma falls along half a cosine wave after a warm-up."""

    name: Literal["cosine"] = "cosine"
    final: float = 0.2  # ratio to gamma at the end, in (0, 1]
    warmup: float = 100 / 3000  # fraction of the horizon, in [0, 1)

    def __post_init__(self) -> None:
        check_final(self.final)
        check_warmup(self.warmup)

    def factors(self, clock: Clock, memory: GammaMemory) -> tuple[float, ...]:
        """One ratio for every gamma."""
        return (cosine(clock.after(self.warmup), self.final),)


@config_class
class StepGamma(GammaSchedule):
    """gamma is multiplied at each milestone, down to a floor."""

    name: Literal["step"] = "step"
    final: float = 0.2  # floor, ratio to gamma, in (0, 1]
    step: float = 0.5  # factor per milestone, in (0, 1)
    milestones: tuple[float, ...] = (1000 / 3000, 2000 / 3000, 2500 / 3000)  # fractions, ascending

    def __post_init__(self) -> None:
        check_final(self.final)
        if not 0 < self.step < 1:
            raise ValueError(f"step is {self.step}; must be in (0, 1)")
        if list(self.milestones) != sorted(set(self.milestones)) or not self.milestones:
            raise ValueError(f"milestones are {list(self.milestones)}; must ascend")
        if not 0 < self.milestones[0] <= self.milestones[-1] < 1:
            raise ValueError(f"milestones are {list(self.milestones)}; must be in (0, 1)")

    def factors(self, clock: Clock, memory: GammaMemory) -> tuple[float, ...]:
        """One ratio for every gamma."""
        passed = sum(clock.now >= milestone for milestone in self.milestones)
        return (max(self.step**passed, self.final),)


@config_class
class HpcmGamma(GammaSchedule):
    """gamma halves at 1/6, 1/2 and 11/12 of the horizon (epochs 500, 1500, 2750 of 3000)."""

    name: Literal["hpcm"] = "hpcm"

    def factors(self, clock: Clock, memory: GammaMemory) -> tuple[float, ...]:
        """One ratio for every gamma."""
        return (0.5 ** sum(clock.now >= m for m in (500 / 3000, 1500 / 3000, 2750 / 3000)),)


@config_class
class ScaleLinearGamma(GammaSchedule):
    """Every scale's gamma falls in a straight line."""

    name: Literal["linear"] = "linear"
    final: float = 0.5  # ratio to gamma at the end, in (0, 1]

    def __post_init__(self) -> None:
        check_final(self.final)

    def factors(self, clock: Clock, memory: GammaMemory) -> tuple[float, ...]:
        """One ratio for all three scales."""
        return (linear(clock.after(0.0), self.final),)


@config_class
class ScaleCosineGamma(GammaSchedule):
    """Every scale's gamma falls along half a cosine wave."""

    name: Literal["cosine"] = "cosine"
    final: float = 0.5  # ratio to gamma at the end, in (0, 1]

    def __post_init__(self) -> None:
        check_final(self.final)

    def factors(self, clock: Clock, memory: GammaMemory) -> tuple[float, ...]:
        """One ratio for all three scales."""
        return (cosine(clock.after(0.0), self.final),)


@config_class
class HierarchicalGamma(GammaSchedule):
    """Coarse scales first: s1's gamma high early, s2's in the middle, s3's late."""

    name: Literal["hierarchical"] = "hierarchical"

    def factors(self, clock: Clock, memory: GammaMemory) -> tuple[float, ...]:
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

#: For a balancer with one gamma.
GAMMA_SCHEDULES: dict[str, type[GammaSchedule]] = {
    "fixed": FixedGamma,
    "linear": LinearGamma,
    "cosine": CosineGamma,
    "step": StepGamma,
    "adaptive": AdaptiveGamma,
    "hpcm": HpcmGamma,
}
#: For one with a gamma per scale.
SCALE_GAMMA_SCHEDULES: dict[str, type[GammaSchedule]] = {
    "fixed": FixedGamma,
    "linear": ScaleLinearGamma,
    "cosine": ScaleCosineGamma,
    "adaptive": ScaleAdaptiveGamma,
    "hierarchical": HierarchicalGamma,
}
