"""What the ``adaptive`` gamma schedules remember between epochs; the others need nothing."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from hpcm.optimizers.gamma_schedules import (
    AdaptiveGamma,
    GammaSchedule,
    ScaleAdaptiveGamma,
    ScaleGammaSchedule,
    window_epochs,
)
from hpcm.schedules import Clock


class GammaMemory:
    """Past losses and the ratios they led to.

    ``observe`` at the end of an epoch, ``ratios`` at the start of the next: an observation acts in
    the first call of ``ratios`` after it, so further calls (a restore) give the same.
    """

    def __init__(self, gammas: int) -> None:
        self._ratios = [1.0] * gammas
        self._losses: list[list[float]] = [[] for _ in range(gammas)]
        self._observed: list[float] | None = None

    def observe(self, scale_losses: dict[str, float] | Tensor) -> None:
        """Mean losses of an epoch, one per gamma.

        Losses that are not finite, of an epoch without a step, are passed over.
        """
        values = scale_losses.values() if isinstance(scale_losses, dict) else scale_losses.tolist()
        losses = [float(value) for value in values]
        if len(losses) != len(self._ratios):
            raise ValueError(f"{len(losses)} losses for {len(self._ratios)} gammas")
        if all(map(math.isfinite, losses)):
            self._observed = losses

    def ratios(
        self, schedule: GammaSchedule | ScaleGammaSchedule, clock: Clock
    ) -> tuple[float, ...]:
        """Ratio to the configured value, one for each gamma."""
        if isinstance(schedule, AdaptiveGamma | ScaleAdaptiveGamma):
            return self._adapt(schedule, clock)
        self._observed = None
        factors = schedule.factors(clock)
        return factors * len(self._ratios) if len(factors) == 1 else factors

    def _adapt(
        self, schedule: AdaptiveGamma | ScaleAdaptiveGamma, clock: Clock
    ) -> tuple[float, ...]:
        single = isinstance(schedule, AdaptiveGamma)
        if self._observed is not None and not (single and clock.now < schedule.warmup):
            keep = window_epochs(schedule.window, clock)
            for losses, loss in zip(self._losses, self._observed, strict=True):
                losses.append(loss)
                del losses[:-keep]
            if not single:
                pairs = zip(self._ratios, self._losses, strict=True)
                self._ratios = [schedule.next_ratio(r, clock, losses) for r, losses in pairs]
        self._observed = None
        if single:
            self._ratios = [schedule.factor(clock, losses) for losses in self._losses]
        return tuple(self._ratios)

    def state_dict(self) -> dict[str, Any]:
        """Everything, as plain lists."""
        losses = [list(values) for values in self._losses]
        return {"ratios": list(self._ratios), "losses": losses, "observed": self._observed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        self._ratios = list(state["ratios"])
        self._losses = [list(values) for values in state["losses"]]
        self._observed = None if state["observed"] is None else list(state["observed"])
