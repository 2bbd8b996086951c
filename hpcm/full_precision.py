"""Rates and losses are never computed in low precision, whatever the model's precision is."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """``x`` in float32, or in float64 if it already is."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def full_precision(like: Tensor) -> torch.autocast:
    """A context in which autocast is off on the device of ``like``."""
    return torch.autocast(like.device.type, enabled=False)
