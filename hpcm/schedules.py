"""How a value changes over one run: pure functions of progress t, and the learning rate's schedule.

Every schedule gives the ratio to the configured value, never the value, so that a hot value keeps
its say. Progress is t in [0, 1]; after its horizon a schedule stays at its end.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Annotated

from hpcm.choices import NameOf
from hpcm.schema import config_class

PUBLISHED_EPOCHS = 3000  # length of the published recipe; its milestones are epochs of it

Schedule = Callable[[float, float], float]


def constant(t: float, final: float) -> float:
    """1 throughout; ``final`` plays no part."""
    return 1.0


def linear(t: float, final: float) -> float:
    """Straight from 1 at t = 0 to ``final`` at t = 1."""
    return 1.0 - (1.0 - final) * clamp(t)


def cosine(t: float, final: float) -> float:
    """Half a cosine wave from 1 at t = 0 to ``final`` at t = 1."""
    return final + 0.5 * (1.0 - final) * (1.0 + math.cos(math.pi * clamp(t)))


# Recipe of the HPCM training code: 2750, 2850 and 2950 of 3000 epochs.
PUBLISHED_STAIRS = ((0.0, 1.0), (2750 / 3000, 0.3), (2850 / 3000, 0.1), (2950 / 3000, 0.01))


def published(t: float, final: float) -> float:
    """1, then 0.3, 0.1 and 0.01 from 2750, 2850 and 2950 3000ths on; ``final`` plays no part."""
    return [value for start, value in PUBLISHED_STAIRS if t >= start or start == 0.0][-1]


@dataclasses.dataclass(frozen=True)
class LrShape:
    """The course of a learning rate, as a ratio to its configured value."""

    of: Schedule  # (t, final) to the ratio
    has_final: bool = False  # whether ``final`` plays a part
    after_warmup: bool = True  # t is 0 at the end of the warm-up; False: at the start of the run


LR_SCHEDULES: dict[str, LrShape] = {
    "published": LrShape(published, after_warmup=False),
    "constant": LrShape(constant),
    "linear": LrShape(linear, has_final=True),
    "cosine": LrShape(cosine, has_final=True),
}


@config_class
class LrSchedule:
    """The factor on every learning rate. ``published``: 1, 0.3, 0.1, 0.01 late in the horizon."""

    name: Annotated[str, NameOf(LR_SCHEDULES)] = "published"
    warmup: float = 0.0  # fraction of the horizon, in [0, 1): from a tenth of the rate, linearly
    final: float | None = None  # ratio at t = 1, in [0, 1]; None: 0.01; linear and cosine only

    def __post_init__(self) -> None:
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup is {self.warmup}; must be in [0, 1)")
        if self.final is None:
            return
        if not LR_SCHEDULES[self.name].has_final:
            raise ValueError(
                f"final is {self.final}, but {self.name!r} has no final value; leave it out"
            )
        if not 0 <= self.final <= 1:
            raise ValueError(f"final is {self.final}; must be in [0, 1]")

    def factor(self, t: float) -> float:
        """What the configured learning rate is multiplied with at progress ``t``."""
        if t < self.warmup:
            return 0.1 + 0.9 * t / self.warmup
        shape = LR_SCHEDULES[self.name]
        if shape.after_warmup:
            t = (t - self.warmup) / (1.0 - self.warmup)
        return shape.of(t, 0.01 if self.final is None else self.final)


@dataclasses.dataclass(frozen=True)
class Clock:
    """Where a run stands, on the scale that milestones are written in.

    The sound clock counts fractions of the run's own horizon. The published one counts epochs of a
    3000-epoch run whatever the horizon is, as the published code does, and goes on beyond 1.
    """

    epoch: int  # 0-based, about to start
    horizon: int  # epochs at which t = 1
    published: bool = False

    @classmethod
    def at(cls, t: float, epoch: int, published: bool = False) -> Clock:
        """The clock at progress ``t`` = epoch / horizon."""
        return cls(epoch, round(epoch / t) if epoch and t else PUBLISHED_EPOCHS, published)

    @property
    def unit(self) -> int:
        """Epochs per unit of this clock."""
        return PUBLISHED_EPOCHS if self.published else self.horizon

    @property
    def now(self) -> float:
        """The time: a fraction of the horizon, or of 3000 epochs."""
        return self.epoch / self.unit

    def after(self, warmup: float) -> float:
        """Progress from the end of the warm-up (a time) to the end of the horizon, in [0, 1]."""
        if self.now < warmup:
            return 0.0
        end = self.horizon / self.unit
        return clamp((self.now - warmup) / (end - warmup)) if end > warmup else 1.0


def clamp(t: float) -> float:
    """``t``, at least 0 and at most 1."""
    return min(max(t, 0.0), 1.0)
