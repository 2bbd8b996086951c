"""Dynamic weight average (Liu, Johns and Davison 2019, "End-to-End Multi-Task Learning with
Attention", eq. 7): weights from how fast each task's loss fell over the last two epochs.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from hpcm.losses.task_set import TaskSet
from hpcm.optimizers.balancer import Balancer, BalancerConfig, EpochMean, Tasks
from hpcm.schema import bounded, config_class, hot


@config_class
class Dwa(BalancerConfig):
    """Task weights n softmax(r / T), r_i the ratio of the last two epochs' mean losses."""

    name: Literal["dwa"] = "dwa"
    tasks: Tasks = "two_task"  # the losses that are weighed
    temperature: float = hot(2.0)  # T, above 0: the larger, the more equal the weights

    def __post_init__(self) -> None:
        bounded(self, "temperature", above=0)

    def build(self, task_set: TaskSet, device: torch.device | str) -> DwaBalancer:
        """The balancer of these tasks."""
        return DwaBalancer(self, task_set, device)


class DwaBalancer(Balancer):
    """Weights of 1 until two epochs are over; they sum to n, as those of the plain sum do."""

    def __init__(
        self,
        config: Dwa,
        task_set: TaskSet,
        device: torch.device | str,
    ) -> None:
        super().__init__(task_set, device)
        self.config = config
        self.epoch_losses = EpochMean(self.weights)
        self.means: list[Tensor] = []  # of the last two epochs, (n,) each

    def weigh(self, losses: Tensor) -> tuple[Tensor, Tensor]:
        """Weights of this epoch; takes note of the losses."""
        self.epoch_losses.add(losses)
        weights = torch.ones_like(losses)
        if len(self.means) == 2:
            older, newer = self.means
            weights = len(losses) * (newer / older / self.config.temperature).softmax(0)
        return weights, (weights * losses).sum()

    def observe(self, scale_losses: Tensor) -> None:
        """An epoch is over: its mean losses, of the tasks, count from the next one on."""
        mean = self.epoch_losses.take()
        if mean is not None:
            self.means = [*self.means, mean][-2:]

    def apply(self, config: Dwa, t: float, epoch: int) -> None:
        """Take the temperature from ``config``."""
        self.config = config

    def state_dict(self) -> dict[str, Any]:
        """Means of the last two epochs, and this epoch's sum."""
        own = {**self.epoch_losses.state_dict(), "means": list(self.means)}
        return {**super().state_dict(), **own}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        super().load_state_dict(state)
        self.epoch_losses.load_state_dict(state)
        self.means = [mean.to(self.weights.device) for mean in state["means"]]
