"""What every optimizer has: a config that builds it and sets its hot values, and its two modes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor

Params = Iterable[Tensor] | Iterable[dict[str, Any]]  # or groups, which may carry ``lr_mult``


class OptimizerConfig(ABC):
    """The section ``optimizer``. Every one has a learning rate, which the schedule multiplies."""

    averages: ClassVar[bool] = False  # whether the weights that it gives are an average already
    skips_on_device: ClassVar[bool] = False
    """Whether its ``step`` does nothing if its attribute ``found_inf``, a tensor, is 1."""
    name: str  # its key in ``OPTIMIZERS``
    lr: float  # learning rate before its schedule, > 0

    @abstractmethod
    def build(self, params: Params) -> torch.optim.Optimizer:
        """The optimizer of ``params``: tensors, or groups that may carry ``lr_mult``."""

    @abstractmethod
    def apply(self, optimizer: torch.optim.Optimizer, lr_factor: float) -> None:
        """Set every hot value in every group; ``lr_factor`` multiplies the learning rate."""


def as_groups(params: Params) -> list[dict[str, Any]]:
    """Parameter groups, copied, each with a list of tensors. Raises if there is no tensor."""
    given = list(params)
    groups = [dict(g) if isinstance(g, dict) else {"params": [g]} for g in given]
    if given and not isinstance(given[0], dict):
        groups = [{"params": given}]
    groups = [group | {"params": list(group["params"])} for group in groups]
    if not any(group["params"] for group in groups):
        raise ValueError("no parameters to optimise")
    return groups


def train_mode(optimizer: torch.optim.Optimizer) -> None:
    """Put the weights in place that gradients are taken at. Call before training steps.

    A schedule-free optimizer has two sets of weights; the others have one, which stays.
    """
    if hasattr(optimizer, "train"):
        optimizer.train()


def eval_mode(optimizer: torch.optim.Optimizer) -> None:
    """Put the averaged weights in place. Call before an evaluation and before saving a model."""
    if hasattr(optimizer, "eval"):
        optimizer.eval()
