"""Parameters of several shapes, and steps against random gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from hpcm.optimizers import train_mode

SHAPES = [(3, 4), (7,), (), (2, 3, 3, 2), (301,)]


def random_parameters(dtype: torch.dtype, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator).to(dtype).requires_grad_() for shape in SHAPES]


def random_steps(
    optimizer: torch.optim.Optimizer, params: list[Tensor], steps: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    train_mode(optimizer)
    for _ in range(steps):
        for param in params:
            param.grad = torch.randn(param.shape, generator=generator).to(param.dtype)
        optimizer.step()
