"""Task weights as a softmax of logits that learn from how fast each task improves.

Liu et al. 2023, "FAMO: Fast Adaptive Multitask Optimization", Alg. 1, with its own Adam.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from hpcm.optimizers.tensor_adam import TensorAdam

Decay = Literal["l2", "decoupled"]


class Logits:
    """w (n,), its Adam, and z = softmax(w), kept above a floor. All float64."""

    def __init__(self, tasks: int, device: torch.device | str) -> None:
        self.w = torch.zeros(tasks, dtype=torch.float64, device=device)
        self.adam = TensorAdam(self.w)

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
            self.w = self.adam.step(self.w, grad + gamma * self.w, lr)
        else:
            self.w = self.adam.step(self.w * (1.0 - lr * gamma), grad, lr)

    def state_dict(self) -> dict[str, Any]:
        """Logits and their Adam."""
        return {"w": self.w, "adam": self.adam.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        self.w = state["w"].to(self.w.device, copy=True)
        self.adam.load_state_dict(state["adam"])
