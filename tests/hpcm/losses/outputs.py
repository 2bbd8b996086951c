"""Model outputs made of random numbers, with gradients, and the ones in golden files."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def random_output(
    batch: int = 2, side: int = 64, seed: int = 0, dtype: torch.dtype = torch.float64
) -> tuple[dict[str, Any], Tensor]:
    """An output in which every field depends on its own leaf, and its images."""
    generator = torch.Generator().manual_seed(seed)

    def leaf(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=dtype).requires_grad_()

    x = leaf(batch, 3, side, side).detach()
    bits = {"z": 50 * leaf(batch), "steps": 100 * leaf(batch, 11)}
    return {"x_hat": leaf(batch, 3, side, side), "bits": bits}, x


def output_of_likelihoods(x_hat: Any, likelihood_y: Any, likelihood_z: Any) -> dict[str, Any]:
    """An output whose bits are those of the likelihoods, y's all in the first coding step."""
    y, z = (
        -torch.tensor(p, dtype=torch.float64).log2().flatten(1).sum(1)
        for p in (likelihood_y, likelihood_z)
    )
    steps = torch.zeros(len(y), 11, dtype=torch.float64)
    steps[:, 0] = y
    return {
        "x_hat": torch.tensor(x_hat, dtype=torch.float64),
        "bits": {"z": z, "steps": steps},
    }
