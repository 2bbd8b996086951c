"""Schedule-free AdamW (Defazio et al. 2024, arXiv 2405.15682): a typed front of schedulefree's.

It has two sets of weights: gradients are taken at one, the averaged other one is the result. See
:mod:`hpcm.optimizers.optimizer`.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch

from hpcm.extra_packages import require
from hpcm.optimizers.adam import AdamConfig
from hpcm.optimizers.optimizer import Params, as_groups
from hpcm.schema import bounded, config_class, hot


@config_class
class ScheduleFreeAdam(AdamConfig):
    """AdamW whose averaging replaces the fall of the learning rate; pair it with ``constant``."""

    averages: ClassVar[bool] = True
    name: Literal["schedule_free_adam"] = "schedule_free_adam"
    lr: float = hot(1e-4)  # learning rate before its schedule, > 0
    one_minus_beta1: float = hot(0.1)  # 1 - beta1, in (0, 1]: beta1 interpolates the two sets
    one_minus_beta2: float = hot(1e-3)  # 1 - beta2, in (0, 1]
    eps: float = hot(1e-8)  # added to the root of the second moment, > 0
    weight_decay: float = hot(0.0)  # decoupled (shrinks the parameter by lr * this), >= 0
    warmup_steps: int = 0  # optimiser steps over which the rate rises from 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.one_minus_beta1 >= 1:
            raise ValueError(f"one_minus_beta1 is {self.one_minus_beta1}; must be below 1")
        bounded(self, "warmup_steps", least=0)

    def build(self, params: Params) -> torch.optim.Optimizer:
        """The optimizer of ``params``. Raises ``ConfigError`` if its package is missing."""
        groups = as_groups(params)
        package = require("schedulefree", "schedulefree", "optimizer.name: schedule_free_adam")
        optimizer: torch.optim.Optimizer = package.AdamWScheduleFree(
            groups, lr=self.lr, warmup_steps=self.warmup_steps, **self.hot_values()
        )
        return optimizer
