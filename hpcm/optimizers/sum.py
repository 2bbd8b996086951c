"""The plain sum of the tasks: no weights to choose."""

from __future__ import annotations

from typing import Literal

import torch

from hpcm.losses.task_set import TaskSet
from hpcm.optimizers.balancer import Balancer, BalancerConfig
from hpcm.schema import config_class


@config_class
class Sum(BalancerConfig):
    """The plain sum of the tasks: lmbda D + R."""

    name: Literal["sum"] = "sum"

    def build(self, task_set: TaskSet, device: torch.device | str) -> Balancer:
        """The balancer of these tasks."""
        return Balancer(task_set, device)
