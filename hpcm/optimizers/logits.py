"""Task weights as a softmax of logits that learn from how fast each task improves.

Liu et al. 2023, "FAMO: Fast Adaptive Multitask Optimization", Alg. 1, with its own Adam.
"""

from __future__ import annotations

from math import sqrt
from typing import Any, Literal

import torch
from torch import Tensor

BETA1, BETA2, ADAM_EPS = 0.9, 0.999, 1e-8  # of the logits' Adam, as published

Decay = Literal["l2", "decoupled"]


class Logits:
    """w (n,), its Adam, and z = softmax(w), kept above a floor. All float64."""

    def __init__(self, tasks: int, device: torch.device | str) -> None:
        self.w = torch.zeros(tasks, dtype=torch.float64, device=device)
        self.exp_avg = torch.zeros_like(self.w)
        self.exp_avg_sq = torch.zeros_like(self.w)
        self.steps = 0

    def shares(self, floor: float = 0.0) -> Tensor:
        """z (n,): sums to 1, none below ``floor`` (< 1 / n)."""
        return floor + (1.0 - len(self.w) * floor) * self.w.softmax(0)

    def improve(
        self, delta: Tensor, gamma: Tensor, lr: float, decay: Decay = "l2", floor: float = 0.0
    ) -> None:
        """One Adam step on w for the improvements ``delta`` (n,) of the log losses.

        g_i = z_i (delta_i - sum_j z_j delta_j) + gamma_i w_i: a task that improves fast loses
        weight, and gamma (n,) pulls towards equal weights. The pull is part of g (``l2``, as
        published) or of the step (``decoupled``, as in AdamW).
        """
        z = self.w.softmax(0)
        grad = (1.0 - len(self.w) * floor) * z * (delta - (z * delta).sum())
        if decay == "l2":
            grad = grad + gamma * self.w
        else:
            self.w = self.w * (1.0 - lr * gamma)
        self.steps += 1
        self.exp_avg = BETA1 * self.exp_avg + (1.0 - BETA1) * grad
        self.exp_avg_sq = BETA2 * self.exp_avg_sq + (1.0 - BETA2) * grad.square()
        root = self.exp_avg_sq.sqrt() / sqrt(1.0 - BETA2**self.steps)
        self.w = self.w - lr / (1.0 - BETA1**self.steps) * self.exp_avg / (root + ADAM_EPS)

    def state_dict(self) -> dict[str, Any]:
        """Logits, moments and step count."""
        return {
            "w": self.w,
            "exp_avg": self.exp_avg,
            "exp_avg_sq": self.exp_avg_sq,
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        device = self.w.device
        self.w = state["w"].to(device, copy=True)
        self.exp_avg = state["exp_avg"].to(device, copy=True)
        self.exp_avg_sq = state["exp_avg_sq"].to(device, copy=True)
        self.steps = state["steps"]
