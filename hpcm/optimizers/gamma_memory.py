"""What a gamma schedule is, and the two that adapt: they remember the losses of past epochs.

gamma is the decay of the weight logits. A schedule gives ratios to the configured gammas. Times are
fractions of the horizon, or of 3000 epochs under the published clock
(:class:`hpcm.schedules.Clock`).
"""

from __future__ import annotations

import math
import statistics
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from hpcm.schedules import Clock, cosine
from hpcm.schema import bounded, config_class


class GammaSchedule(ABC):
    """How gamma changes over a run, for one gamma or for one per scale."""

    name: str  # its key in GAMMA_SCHEDULES or SCALE_GAMMA_SCHEDULES
    adapts: ClassVar[bool] = False  # whether the losses of past epochs play a part

    @abstractmethod
    def factors(self, clock: Clock, memory: GammaMemory) -> tuple[float, ...]:
        """Ratio to each configured gamma; a single one holds for all."""


class GammaMemory:
    """Past losses, and the ratios they led to.

    ``observe`` at the end of an epoch, ``ratios`` at the start of the next: an observation acts in
    the first call of ``ratios`` after it, so further calls (a restore) give the same.
    """

    def __init__(self, gammas: int) -> None:
        self.factors = [1.0] * gammas
        self.losses: list[list[float]] = [[] for _ in range(gammas)]
        self._observed: list[float] | None = None

    def observe(self, losses: Sequence[float]) -> None:
        """Mean losses of an epoch, one per gamma.

        Losses that are not finite, of an epoch without a step, are passed over.
        """
        if len(losses) != len(self.factors):
            raise ValueError(f"{len(losses)} losses for {len(self.factors)} gammas")
        if all(map(math.isfinite, losses)):
            self._observed = list(losses)

    def ratios(self, schedule: GammaSchedule, clock: Clock) -> tuple[float, ...]:
        """Ratio to the configured value, one for each gamma."""
        factors = schedule.factors(clock, self)
        self._observed = None
        return factors * len(self.factors) if len(factors) == 1 else factors

    def take(self, window: int) -> bool:
        """Add the epoch that was observed to the last ``window`` ones; whether there was one."""
        if self._observed is None:
            return False
        for losses, loss in zip(self.losses, self._observed, strict=True):
            losses.append(loss)
            del losses[:-window]
        self._observed = None
        return True

    def state_dict(self) -> dict[str, Any]:
        """Everything, as plain lists."""
        losses = [list(values) for values in self.losses]
        return {"ratios": list(self.factors), "losses": losses, "observed": self._observed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        self.factors = list(state["ratios"])
        self.losses = [list(values) for values in state["losses"]]
        self._observed = None if state["observed"] is None else list(state["observed"])


@config_class
class AdaptiveGamma(GammaSchedule):
    """Cosine, times ``down`` if the loss of late epochs is flat, ``up`` if it is noisy."""

    adapts: ClassVar[bool] = True
    name: Literal["adaptive"] = "adaptive"
    final: float = 0.2  # ratio to gamma at the end of the cosine and floor, in (0, 1]
    warmup: float = 100 / 3000  # fraction of the horizon, in [0, 1); losses before it do not count
    window: float = 50 / 3000  # fraction of the horizon, in (0, 1): epochs of one variation
    flat: float = 0.01  # coefficient of variation below which ``down`` applies
    noisy: float = 0.05  # coefficient of variation above which ``up`` applies
    down: float = 0.8  # factor, in (0, 1)
    up: float = 1.2  # factor, above 1
    ceiling: float = 1.5  # ratio to gamma, 1 or more

    def __post_init__(self) -> None:
        check_final(self.final)
        check_warmup(self.warmup)
        _check_adaptive(self)

    def factors(self, clock: Clock, memory: GammaMemory) -> tuple[float, ...]:
        """The ratio by the cosine and by the remembered losses; does not compound."""
        if clock.now >= self.warmup:
            memory.take(window_epochs(self.window, clock))
        return tuple(self.factor(clock, losses) for losses in memory.losses)

    def factor(self, clock: Clock, losses: Sequence[float]) -> float:
        """The ratio, given the losses of the epochs since the warm-up."""
        ratio = cosine(clock.after(self.warmup), self.final)
        window = window_epochs(self.window, clock)
        if clock.now >= self.warmup and len(losses) >= window:
            ratio *= reaction(self, variation(losses[-window:], unbiased=False))
        return min(max(ratio, self.final), self.ceiling)


@config_class
class ScaleAdaptiveGamma(GammaSchedule):
    """Each scale's gamma times ``down`` (flat loss) or ``up`` (noisy loss), epoch after epoch."""

    adapts: ClassVar[bool] = True
    name: Literal["adaptive"] = "adaptive"
    final: float = 0.5  # floor, ratio to gamma, in (0, 1]
    window: float = 50 / 3000  # fraction of the horizon, in (0, 1): epochs of one variation
    flat: float = 0.01  # coefficient of variation below which ``down`` applies
    noisy: float = 0.05  # coefficient of variation above which ``up`` applies
    down: float = 0.95  # factor per epoch, in (0, 1)
    up: float = 1.02  # factor per epoch, above 1
    ceiling: float = 1.5  # ratio to gamma, 1 or more

    def __post_init__(self) -> None:
        check_final(self.final)
        _check_adaptive(self)

    def factors(self, clock: Clock, memory: GammaMemory) -> tuple[float, ...]:
        """The ratios so far, changed once for each epoch that was observed; compounds."""
        if memory.take(window_epochs(self.window, clock)):
            pairs = zip(memory.factors, memory.losses, strict=True)
            memory.factors = [self.next_ratio(ratio, clock, losses) for ratio, losses in pairs]
        return tuple(memory.factors)

    def next_ratio(self, ratio: float, clock: Clock, losses: Sequence[float]) -> float:
        """One epoch's change of one scale's ratio, given all its losses so far."""
        window = window_epochs(self.window, clock)
        if clock.epoch <= window or len(losses) < window:
            return ratio
        ratio *= reaction(self, variation(losses[-window:], unbiased=True))
        return min(max(ratio, self.final), self.ceiling)


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


def check_final(final: float) -> None:
    """Refuse a ratio at the end that no schedule can reach."""
    if not 0 < final <= 1:
        raise ValueError(f"final is {final}; must be in (0, 1]")


def check_warmup(warmup: float) -> None:
    """Refuse a warm-up that leaves nothing of the horizon."""
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
