"""Early stopping per scale: one whose loss no longer falls is frozen; with all, training ends."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hpcm.schema import bounded, config_class

SCALES = ("s1", "s2", "s3")
RECENT = 10  # epochs whose improvements decide on more patience
ENOUGH = 5  # improvements needed for that


@config_class
class EarlyStopping:
    """Stops each scale after ``patience`` epochs without improvement; off if that is 0.

    If a scale still improves, but slowly, ``increase`` adds to its patience.
    """

    patience: int = 0  # epochs without improvement, >= 0; 0 is off
    min_delta: float = 1e-4  # fall of the loss in bits per pixel that counts, >= 0
    increase: int = 0  # epochs added per epoch of slow improvement, >= 0; 0 keeps patience fixed
    max_patience: int = 200  # epochs, what increases end at
    threshold: float = 0.01  # mean fall per epoch in bits per pixel below which it is slow, > 0
    published: bool = False  # one patience for all scales, as published, instead of one each

    def __post_init__(self) -> None:
        bounded(self, "patience", "min_delta", "increase", least=0)
        bounded(self, "threshold", above=0)
        if self.increase and self.max_patience < self.patience:
            raise ValueError(
                f"max_patience is {self.max_patience}; must be at least patience ({self.patience})"
            )

    @property
    def needs_scales(self) -> bool:
        """Whether the tasks must have losses of each scale."""
        return self.patience > 0

    def build(self) -> ScaleStopper:
        """A stopper that has seen no epoch."""
        return ScaleStopper(self)


class ScaleStopper:
    """Follows the loss of each scale and says which scales have stopped."""

    def __init__(self, config: EarlyStopping) -> None:
        self.config = config
        self.best = dict.fromkeys(SCALES, math.inf)
        self.counter = dict.fromkeys(SCALES, 0)
        self.patience = dict.fromkeys(SCALES, config.patience)
        self._stopped = dict.fromkeys(SCALES, False)
        self._recent: dict[str, list[float]] = {scale: [] for scale in SCALES}

    @property
    def stopped(self) -> tuple[int, ...]:
        """The scales (1, 2, 3) that have stopped; they stay stopped."""
        return tuple(number for number, scale in enumerate(SCALES, 1) if self._stopped[scale])

    @property
    def all_stopped(self) -> bool:
        """Whether training may end."""
        return all(self._stopped.values())

    def observe(self, losses: Mapping[str, float]) -> None:
        """Take an epoch's losses of s1, s2, s3, in bits per pixel."""
        if not self.config.patience:
            return
        live = [scale for scale in SCALES if not self._stopped[scale]]
        if self.config.increase:
            for scale in live:
                self._extend(scale, losses[scale])
        for scale in live:
            self._count(scale, losses[scale])

    def log(self) -> dict[str, float]:
        """Epochs each scale has gone without improvement, and its patience; nothing if off."""
        if not self.config.patience:
            return {}
        counters = {f"early_stopping/counter_{s}": float(n) for s, n in self.counter.items()}
        return counters | {
            f"early_stopping/patience_{s}": float(n) for s, n in self.patience.items()
        }

    def state_dict(self) -> dict[str, Any]:
        """Everything a resume needs; plain numbers."""
        return {
            "best": dict(self.best),
            "counter": dict(self.counter),
            "added": {scale: self.patience[scale] - self.config.patience for scale in SCALES},
            "stopped": dict(self._stopped),
            "recent": {scale: list(values) for scale, values in self._recent.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        self.best, self.counter = dict(state["best"]), dict(state["counter"])
        self._stopped = dict(state["stopped"])
        self.patience = {scale: self.config.patience + state["added"][scale] for scale in SCALES}
        self._recent = {scale: list(values) for scale, values in state["recent"].items()}

    def _extend(self, scale: str, loss: float) -> None:
        """Give a slowly improving scale more patience."""
        if math.isinf(self.best[scale]):
            return
        recent = self._recent[scale] = [*self._recent[scale], self.best[scale] - loss][-RECENT:]
        if len(recent) < ENOUGH or not 0 < sum(recent) / len(recent) < self.config.threshold:
            return
        for other in SCALES if self.config.published else (scale,):
            longer = self.patience[other] + self.config.increase
            self.patience[other] = min(longer, self.config.max_patience)

    def _count(self, scale: str, loss: float) -> None:
        if loss < self.best[scale] - self.config.min_delta:
            self.best[scale], self.counter[scale] = loss, 0
        else:
            self.counter[scale] += 1
            self._stopped[scale] = self.counter[scale] >= self.patience[scale]
