"""The published hierarchical loss with shares that are learned (AdaptiveHierarchicalLoss).

Kept to show what it does. The shares are learned by the loss they define, and one of the three
shares of the distortion is in no task: minimising the sum moves all of the distortion there.
"""

from __future__ import annotations

import warnings
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from hpcm.losses.task_set import TaskSet
from hpcm.optimizers.balancer import Balancer, BalancerConfig, TensorAdam
from hpcm.schema import bounded, config_class, hot

# Published as initial shares, but used as logits: the softmax makes them (0.36, 0.34, 0.31) and
# (0.32, 0.36, 0.32). The third share of the distortion has no task.
DISTORTION_LOGITS = (0.40, 0.35, 0.25)
RATE_LOGITS = (0.30, 0.40, 0.30)


@config_class
class LearnedShares(BalancerConfig):
    """Shares of distortion and rate as softmaxes of logits; published, they stay at the start."""

    name: Literal["learned_shares"] = "learned_shares"
    tasks: ClassVar[str] = "unshared5"  # the only ones it has shares for
    w_lr: float | None = hot(None)  # of the logits' Adam, > 0; None: no optimizer, as published

    def __post_init__(self) -> None:
        bounded(self, "w_lr", above=0)

    def build(self, task_set: TaskSet, device: torch.device | str) -> LearnedSharesBalancer:
        """The balancer of unshared5. Warns of what it does."""
        return LearnedSharesBalancer(self, task_set, device)


class LearnedSharesBalancer(Balancer):
    """Weights (d1, r1, d2, r2, r3), d and r the softmaxes of three logits each."""

    def __init__(
        self,
        config: LearnedShares,
        task_set: TaskSet,
        device: torch.device | str,
    ) -> None:
        super().__init__(task_set, device)
        warnings.warn(
            "balancer learned_shares degenerates: the third share of the distortion is in no task, "
            "so minimising the tasks' sum sends it to 1 and the distortion out of the loss",
            UserWarning,
            stacklevel=3,
        )
        self.config = config
        self.logits = self.weights.new_tensor((DISTORTION_LOGITS, RATE_LOGITS))  # (2, 3)
        self.adam = TensorAdam(self.logits)
        self.weights = self._weights()

    def weigh(self, losses: Tensor) -> tuple[Tensor, Tensor]:
        """The shares, and the sum of the tasks."""
        weights = self._weights()
        return weights, (weights * losses).sum()

    def due(self, step: int) -> bool:
        """After every step, if the shares are learned at all."""
        return self.config.w_lr is not None

    def update(self, before: Tensor, after: Tensor) -> None:
        """One Adam step on the logits, for the sum of the tasks before the step."""
        if self.config.w_lr is not None:
            gradient = self.logits_gradient(before)
            self.logits = self.adam.step(self.logits, gradient, self.config.w_lr)

    def logits_gradient(self, losses: Tensor) -> Tensor:
        """Gradient of the tasks' sum with respect to the logits (2, 3), through the softmax."""
        d1, r1, d2, r2, r3 = losses
        whole = torch.stack(
            [torch.stack([d1, d2, torch.zeros_like(d1)]), torch.stack([r1, r2, r3])]
        )
        shares = self.logits.softmax(1)
        return shares * (whole - (shares * whole).sum(1, keepdim=True))

    def apply(self, config: LearnedShares, t: float, epoch: int) -> None:
        """Take the learning rate from ``config``."""
        self.config = config

    def state_dict(self) -> dict[str, Any]:
        """The logits and their Adam."""
        return {**super().state_dict(), "logits": self.logits, "adam": self.adam.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        super().load_state_dict(state)
        self.logits = state["logits"].to(self.logits.device)
        self.adam.load_state_dict(state["adam"])

    def _weights(self) -> Tensor:
        (d1, d2, _), (r1, r2, r3) = self.logits.softmax(1)
        return torch.stack([d1, r1, d2, r2, r3])
