"""A schedule-free optimizer has two sets of weights; the others have one, and stay as they are."""

from __future__ import annotations

import torch


def train_mode(optimizer: torch.optim.Optimizer) -> None:
    """Put the weights in place that gradients are taken at. Call before training steps."""
    if hasattr(optimizer, "train"):
        optimizer.train()


def eval_mode(optimizer: torch.optim.Optimizer) -> None:
    """Put the averaged weights in place. Call before an evaluation and before saving a model."""
    if hasattr(optimizer, "eval"):
        optimizer.eval()
