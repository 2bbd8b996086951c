"""The mean of what an epoch's steps add up, kept on the device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class EpochMean:
    """Sums tensors of one shape; :meth:`take` gives their mean and starts over."""

    def __init__(self, zero: Tensor) -> None:
        self.total, self.steps = torch.zeros_like(zero), 0

    def add(self, value: Tensor) -> None:
        """One step's value; waits for no device."""
        self.total, self.steps = self.total + value, self.steps + 1

    def take(self) -> Tensor | None:
        """The mean since the last call; None where nothing was added."""
        mean = self.total / self.steps if self.steps else None
        self.total, self.steps = torch.zeros_like(self.total), 0
        return mean

    def state_dict(self) -> dict[str, Any]:
        """The sum and its count."""
        return {"total": self.total, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`; other keys are passed over."""
        self.total = state["total"].to(self.total.device, copy=True)
        self.steps = state["steps"]
