"""SOAP (Vyas et al. 2024, arXiv 2409.11321): a typed front of pytorch-optimizer's."""

from __future__ import annotations

from typing import Literal

import torch

from hpcm.extra_packages import require
from hpcm.optimizers.adam import AdamConfig
from hpcm.optimizers.optimizer import Params, as_groups
from hpcm.schema import bounded, config_class, hot


@config_class
class Soap(AdamConfig):
    """Adam in the eigenbasis of Shampoo's preconditioner, with decoupled weight decay."""

    name: Literal["soap"] = "soap"
    lr: float = hot(1e-4)  # learning rate before its schedule, > 0
    one_minus_beta1: float = hot(0.05)  # 1 - beta1, in (0, 1]; so that a log scale searches evenly
    one_minus_beta2: float = hot(0.05)  # 1 - beta2, in (0, 1]; also of the preconditioner
    eps: float = hot(1e-8)  # added to the root of the second moment, > 0
    weight_decay: float = hot(0.0)  # decoupled (shrinks the parameter by lr * this), >= 0
    precondition_every: int = 10  # optimiser steps between two eigenbases
    max_dim: int = 10000  # a side longer than this is left as it is

    def __post_init__(self) -> None:
        super().__post_init__()
        bounded(self, "precondition_every", "max_dim", least=1)

    def build(self, params: Params) -> torch.optim.Optimizer:
        """The optimizer of ``params``. Raises ``ConfigError`` if its package is missing."""
        groups = as_groups(params)
        package = require("pytorch_optimizer", "pytorch-optimizer", "optimizer.name: soap")
        optimizer: torch.optim.Optimizer = package.SOAP(
            groups,
            lr=self.lr,
            precondition_frequency=self.precondition_every,
            max_precondition_dim=self.max_dim,
            **self.hot_values(),
        )
        return optimizer
