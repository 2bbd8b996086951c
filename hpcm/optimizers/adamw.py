"""AdamW (Loshchilov and Hutter 2019): a typed front of torch's."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch

from hpcm.optimizers.adam import AdamConfig, kernel
from hpcm.optimizers.optimizer import Params, as_groups
from hpcm.schema import config_class, hot


@config_class
class AdamW(AdamConfig):
    """torch's AdamW: Adam with decoupled weight decay."""

    skips_on_device: ClassVar[bool] = True
    name: Literal["adamw"] = "adamw"
    lr: float = hot(1e-4)  # learning rate before its schedule, > 0
    one_minus_beta1: float = hot(0.1)  # 1 - beta1, in (0, 1]; so that a log scale searches evenly
    one_minus_beta2: float = hot(1e-3)  # 1 - beta2, in (0, 1]
    eps: float = hot(1e-8)  # added to the root of the second moment, > 0
    weight_decay: float = hot(1e-2)  # decoupled (shrinks the parameter by lr * this), >= 0

    def build(self, params: Params) -> torch.optim.AdamW:
        """The optimizer of ``params``: tensors, or groups that may carry ``lr_mult``."""
        groups = as_groups(params)
        return torch.optim.AdamW(groups, lr=self.lr, **self.hot_values(), **kernel(groups))
