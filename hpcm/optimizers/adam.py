"""Adam (Kingma and Ba 2015) and AdamW (Loshchilov and Hutter 2019): typed fronts of torch's."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch

from hpcm.optimizers.optimizer import OptimizerConfig, Params, as_groups
from hpcm.schema import bounded, config_class, hot


class AdamConfig(OptimizerConfig):
    """What every Adam has: bounds of its fields, and hot values."""

    one_minus_beta1: float
    one_minus_beta2: float
    eps: float
    weight_decay: float

    def __post_init__(self) -> None:
        bounded(self, "lr", "eps", above=0)
        bounded(self, "weight_decay", least=0)
        for name in ("one_minus_beta1", "one_minus_beta2"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; must be in (0, 1]")

    def hot_values(self) -> dict[str, Any]:
        """All besides the learning rate, by torch's names."""
        return {
            "betas": (1.0 - self.one_minus_beta1, 1.0 - self.one_minus_beta2),
            "eps": self.eps,
            "weight_decay": self.weight_decay,
        }

    def apply(self, optimizer: torch.optim.Optimizer, lr_factor: float) -> None:
        """Set every hot value in every group; ``lr_factor`` multiplies the learning rate."""
        set_hot(optimizer, self.lr * lr_factor, self.hot_values())


@config_class
class Adam(AdamConfig):
    """torch's Adam; weight decay is the L2 term inside it."""

    skips_on_device: ClassVar[bool] = True
    name: Literal["adam"] = "adam"
    lr: float = hot(1e-4)  # learning rate before its schedule, > 0
    one_minus_beta1: float = hot(0.1)  # 1 - beta1, in (0, 1]; so that a log scale searches evenly
    one_minus_beta2: float = hot(1e-3)  # 1 - beta2, in (0, 1]
    eps: float = hot(1e-8)  # added to the root of the second moment, > 0
    weight_decay: float = hot(0.0)  # coupled (added to the gradient), >= 0

    def build(self, params: Params) -> torch.optim.Adam:
        """The optimizer of ``params``: tensors, or groups that may carry ``lr_mult``."""
        groups = as_groups(params)
        return torch.optim.Adam(groups, lr=self.lr, **self.hot_values(), **kernel(groups))


def set_hot(optimizer: torch.optim.Optimizer, lr: float, values: dict[str, Any]) -> None:
    """Write ``values`` and the learning rate, times the group's ``lr_mult``, into every group."""
    for group in optimizer.param_groups:
        group.update(values, lr=lr * group.get("lr_mult", 1.0))


def kernel(groups: list[dict[str, Any]]) -> dict[str, Any]:
    """torch's fused kernel if there is one: on GPUs and CPUs; elsewhere its foreach form.

    On a CPU it takes 0.30 of the foreach form's time and rounds otherwise.
    """
    kinds = {p.device.type for group in groups for p in group["params"]}
    return {"fused": True} if kinds <= {"cpu", "cuda"} else {"foreach": True}
