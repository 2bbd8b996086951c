"""Task weights that are learned by gradient descent on the weighted loss itself.

Uncertainty weighting (Kendall, Gal and Cipolla 2018, eq. 10, without its factor 1/2) and direct
weighting. Both published forms are kept; each loss they define has a minimum that does not train:
``docs/methods.md``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import log
from typing import Any, Literal

import torch
from torch import Tensor

from hpcm.losses.task_set import TaskSet
from hpcm.losses.tasks import TASK_SETS
from hpcm.optimizers.balancer import Balancer, BalancerConfig, Tasks, TensorAdam
from hpcm.schema import bounded, config_class, hot

PUBLISHED_W_LR = 0.1  # of the model's learning rate, with its schedule
SOUND_W_LR = 5e-3
PUBLISHED_DIRECT = (0.5, 0.5, 0.2, 0.1, 0.1)  # the last is ours: the published form has four
RAW_BOUND = 10.0  # of the published direct weights' logarithms


@config_class
class Uncertainty(BalancerConfig):
    """Minimise sum exp(-s_i) (L_i + o) + s_i in s too; ``published``: o = 0, clamp in the graph."""

    name: Literal["uncertainty"] = "uncertainty"
    tasks: Tasks = "two_task"  # the losses that are weighed
    w_lr: float | None = hot(None)  # of s's Adam, > 0; None: 5e-3, published 0.1 of the model's
    init: float = 0.0  # s at the start, within the clamp
    clamp: float = 10.0  # |s| is at most this, > 0
    offset: float | None = None  # o, > 0; None: 1
    published: bool = False  # as published, with what is wrong with it (docs/methods.md)

    def __post_init__(self) -> None:
        bounded(self, "w_lr", "clamp", "offset", above=0)
        if self.published and self.offset is not None:
            raise ValueError(f"offset is {self.offset}; the published form has none, leave it out")
        if abs(self.init) > self.clamp:
            raise ValueError(f"init is {self.init}; must be within the clamp, {self.clamp}")

    def build(self, task_set: TaskSet, device: torch.device | str) -> UncertaintyBalancer:
        """The balancer of these tasks."""
        return UncertaintyBalancer(self, task_set, device)


@config_class
class Direct(BalancerConfig):
    """Learn the weights themselves; sound: on a simplex, held to their start by an entropy term."""

    name: Literal["direct"] = "direct"
    tasks: Tasks = "two_task"  # the losses that are weighed
    w_lr: float | None = hot(None)  # of their Adam, > 0; None: 5e-3, published 0.1 of the model's
    init: tuple[float, ...] | None = None  # weights at the start, > 0; None: equal, published ones
    strength: float | None = hot(None)  # of the entropy term, > 0; None: 1
    published: bool = False  # as published, with what is wrong with it (docs/methods.md)

    def __post_init__(self) -> None:
        bounded(self, "w_lr", "strength", above=0)
        n = len(TASK_SETS[self.tasks].names)
        if self.init is not None:
            if len(self.init) != n or min(self.init) <= 0:
                raise ValueError(f"init is {list(self.init)}; {self.tasks} wants {n} above 0")
            if self.published and abs(self.init[0] + self.init[1] - 1) > 1e-6:
                raise ValueError(f"init is {list(self.init)}; published, the first two sum to 1")
        if self.published and self.strength is not None:
            raise ValueError(f"strength is {self.strength}; the published form has no such term")

    def build(self, task_set: TaskSet, device: torch.device | str) -> DirectBalancer:
        """The balancer of these tasks."""
        return DirectBalancer(self, task_set, device)


class LearnedWeightsBalancer(Balancer, ABC):
    """A raw parameter per task and its Adam. ``update`` learns from the losses of the step."""

    def __init__(
        self,
        config: Any,
        raw: Tensor,
        task_set: TaskSet,
        device: torch.device | str,
    ) -> None:
        super().__init__(task_set, device)
        self.config = config
        self.raw = raw.to(self.weights)
        self.adam = TensorAdam(self.raw)

    @abstractmethod
    def raw_gradient(self, losses: Tensor) -> Tensor:
        """Gradient of the weighted loss with respect to ``raw`` (n,)."""

    def project(self, raw: Tensor) -> Tensor:
        """``raw`` as it may be after a step."""
        return raw

    def due(self, step: int) -> bool:
        """After every step that was taken."""
        return True

    def update(self, before: Tensor, after: Tensor) -> None:
        """One Adam step on ``raw`` for the losses before the step."""
        published = PUBLISHED_W_LR * self.model_lr
        lr = self.config.w_lr or (published if self.config.published else SOUND_W_LR)
        grad = self.raw_gradient(before)
        self.raw = self.project(self.adam.step(self.raw, grad, lr))

    def apply(self, config: Any, t: float, epoch: int) -> None:
        """Take hot values from ``config``."""
        self.config = config

    def log(self) -> dict[str, float]:
        """Also the raw parameter of each task (s_i of ``uncertainty``); reads the device."""
        raw = zip(self.names, self.raw.tolist(), strict=True)
        return {**super().log(), **{f"balance/raw_{name}": value for name, value in raw}}

    def state_dict(self) -> dict[str, Any]:
        """The raw parameters and their Adam."""
        return {**super().state_dict(), "raw": self.raw, "adam": self.adam.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        super().load_state_dict(state)
        self.raw = state["raw"].to(self.raw.device)
        self.adam.load_state_dict(state["adam"])


class UncertaintyBalancer(LearnedWeightsBalancer):
    """Weights exp(-s_i). At rest s_i = log(L_i + o), so the weights are 1 / (L_i + o).

    Sound: they are divided by their sum, s is clamped after its step so that it can come back, and
    the offset keeps lambda in the balance (see :mod:`hpcm.optimizers.famo`). Published: o = 0, and
    the clamp inside the graph has no gradient beyond its bounds.
    """

    def __init__(
        self,
        config: Uncertainty,
        task_set: TaskSet,
        device: torch.device | str,
    ) -> None:
        raw = torch.full((len(task_set.names),), config.init)
        super().__init__(config, raw, task_set, device)
        self.offset = 0.0 if config.published else config.offset or 1.0

    def weigh(self, losses: Tensor) -> tuple[Tensor, Tensor]:
        """exp(-s), and sum_i exp(-s_i) (L_i + o) + s_i."""
        s = self.raw.clamp(-self.config.clamp, self.config.clamp)
        weights = (-s).exp()
        value = (weights * (losses + self.offset) + s).sum()
        return weights if self.config.published else weights / weights.sum(), value

    def raw_gradient(self, losses: Tensor) -> Tensor:
        """1 - exp(-s_i) (L_i + o); 0 beyond the clamp."""
        bound = self.config.clamp
        grad = 1.0 - (-self.raw.clamp(-bound, bound)).exp() * (losses + self.offset)
        return grad.where(self.raw.abs() <= bound, 0.0)

    def project(self, raw: Tensor) -> Tensor:
        """Within the clamp, unless published."""
        bound = self.config.clamp
        return raw if self.config.published else raw.clamp(-bound, bound)


class DirectBalancer(LearnedWeightsBalancer):
    """Sound: q = softmax(raw), minimising sum_i q_i L_i + strength KL(q, start).

    At rest q_i is proportional to start_i exp(-L_i / strength). Published: alpha = sigmoid(a) and
    1 - alpha on the first two tasks, exp(r_i) on the others, with nothing to hold them: they go to
    0, for the loss is smallest when nothing is trained.
    """

    def __init__(
        self,
        config: Direct,
        task_set: TaskSet,
        device: torch.device | str,
    ) -> None:
        n = len(task_set.names)
        start = config.init or (PUBLISHED_DIRECT[:n] if config.published else (1.0,) * n)
        raw = [log(max(weight, 1e-8)) for weight in start]
        if config.published:  # a and, unused, the task whose weight is 1 - alpha
            raw[:2] = [log(start[0] / (1 - start[0] + 1e-8)), 0.0]
        super().__init__(config, torch.tensor(raw, dtype=torch.float64), task_set, device)
        self.log_start = self.raw.log_softmax(0)

    def weigh(self, losses: Tensor) -> tuple[Tensor, Tensor]:
        """The weights, and the loss they minimise."""
        if self.config.published:
            alpha = self.raw[:1].sigmoid()
            others = self.raw[2:].clamp(-RAW_BOUND, RAW_BOUND).exp()
            weights = torch.cat([alpha, 1.0 - alpha, others])
            return weights, (weights * losses).sum()
        weights = self.raw.softmax(0)
        return weights, (weights * self._costs(losses)).sum()

    def raw_gradient(self, losses: Tensor) -> Tensor:
        """By the chain rule through sigmoid and exp, or through the softmax."""
        weights, _ = self.weigh(losses)
        if self.config.published:
            alpha = weights[:1]
            slope = alpha * (1.0 - alpha) * (losses[:1] - losses[1:2])
            inside = self.raw[2:].abs() <= RAW_BOUND
            return torch.cat([slope, 0.0 * slope, (weights * losses)[2:].where(inside, 0.0)])
        costs = self._costs(losses)
        return weights * (costs - (weights * costs).sum())

    def _costs(self, losses: Tensor) -> Tensor:
        """L_i + strength log(q_i / start_i); (n,)."""
        strength = self.config.strength or 1.0
        return losses + strength * (self.raw.log_softmax(0) - self.log_start)
