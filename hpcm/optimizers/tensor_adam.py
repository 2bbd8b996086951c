"""Adam of one small tensor that a balancer learns: plain formulas, its whole state in a dict."""

from __future__ import annotations

from math import sqrt
from typing import Any

import torch
from torch import Tensor

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8  # as published for every learned task weight


class TensorAdam:
    """Moments and step count. A step makes new tensors: a state given out before stays as it is."""

    def __init__(self, like: Tensor) -> None:
        self.exp_avg = torch.zeros_like(like)
        self.exp_avg_sq = torch.zeros_like(like)
        self.steps = 0

    def step(self, value: Tensor, grad: Tensor, lr: float) -> Tensor:
        """``value`` after one update against ``grad``."""
        self.steps += 1
        self.exp_avg = BETA1 * self.exp_avg + (1.0 - BETA1) * grad
        self.exp_avg_sq = BETA2 * self.exp_avg_sq + (1.0 - BETA2) * grad.square()
        root = self.exp_avg_sq.sqrt() / sqrt(1.0 - BETA2**self.steps)
        return value - lr / (1.0 - BETA1**self.steps) * self.exp_avg / (root + EPS)

    def state_dict(self) -> dict[str, Any]:
        """Moments and step count."""
        return {"exp_avg": self.exp_avg, "exp_avg_sq": self.exp_avg_sq, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        device = self.exp_avg.device
        self.exp_avg = state["exp_avg"].to(device, copy=True)
        self.exp_avg_sq = state["exp_avg_sq"].to(device, copy=True)
        self.steps = state["steps"]
