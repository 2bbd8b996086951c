"""Tasks without a codec: losses that disagree, and balancers that are trained on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hpcm.losses import TASK_SETS
from hpcm.optimizers.balancer import Balancer

GOLDEN = Path(__file__).parents[1] / "golden"


def golden(name: str) -> dict[str, Any]:
    return json.loads((GOLDEN / f"balanced_{name}.json").read_text())


def build(config: Any) -> Balancer:
    return config.build(TASK_SETS[config.tasks], "cpu")


def tensor(values: Any) -> Tensor:
    return torch.tensor([float(v) for v in values], dtype=torch.float64)


def assert_close(actual: Any, expected: Any, tolerance: float) -> None:
    """Within ``tolerance``; a golden 'nan' wants a NaN."""
    expected = np.asarray(expected, dtype=np.float64)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)


def toy_losses(p: Tensor, n: int) -> Tensor:
    """n losses above 0 that disagree about p."""
    targets = torch.linspace(-1, 1, n, dtype=p.dtype)
    return torch.stack([(p - target).square().mean() + 0.1 for target in targets])


def train(balancer: Balancer, p: Tensor, optimizer: torch.optim.Optimizer, steps: int) -> None:
    n = len(balancer.names)
    for step in range(steps):
        optimizer.zero_grad()
        losses = toy_losses(p, n)
        balancer.backward(losses, [p])
        optimizer.step()
        if balancer.due(step):
            after = losses if balancer.noise == "none" else toy_losses(p, n)
            balancer.update(losses.detach(), after.detach())
