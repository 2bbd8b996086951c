"""Balancers that look at each task's gradient: MGDA and UPGrad, with torchjd's solvers.

They cost one backward pass per task and a copy of the gradient each, and wait for the device; of
several processes each task's gradient is averaged first, as they need the whole batch's. MGDA
(Desideri 2012; Sener and Koltun 2018, Alg. 2) takes the shortest convex combination; on gradients
of log losses it is the quadratic programme of Balanced R-D with its weights kept at or above 0.
UPGrad (Quinton and Rey 2024, arXiv 2406.16232) projects each gradient so that none conflicts.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from hpcm import ranks
from hpcm.extra_packages import require
from hpcm.losses.task_set import TaskSet
from hpcm.optimizers.balancer import Balancer, BalancerConfig, Tasks
from hpcm.schema import config_class


@config_class
class Mgda(BalancerConfig):
    """The shortest convex combination of the tasks' gradients: no loss rises."""

    name: Literal["mgda"] = "mgda"
    tasks: Tasks = "two_task"  # the losses that are weighed
    log_losses: bool = True  # balance the gradients of log L, whatever the losses' units

    def build(self, task_set: TaskSet, device: torch.device | str) -> GradientBalancer:
        """The balancer of these tasks. Raises ``ConfigError`` if torchjd is missing."""
        package = require("torchjd.aggregation", "torchjd", "balancer.name: mgda")
        return GradientBalancer(self.log_losses, package.MGDA(), task_set, device)


@config_class
class UpGrad(BalancerConfig):
    """The mean of the tasks' gradients, each projected so that it raises no other loss."""

    name: Literal["upgrad"] = "upgrad"
    tasks: Tasks = "two_task"  # the losses that are weighed
    log_losses: bool = False  # balance the gradients of log L instead

    def build(self, task_set: TaskSet, device: torch.device | str) -> GradientBalancer:
        """The balancer of these tasks. Raises ``ConfigError`` if torchjd is missing."""
        package = require("torchjd.aggregation", "torchjd", "balancer.name: upgrad")
        aggregator = package.UPGrad(projector=project_on_dual_cone)
        return GradientBalancer(self.log_losses, aggregator, task_set, device)


class GradientBalancer(Balancer):
    """Weights from the inner products of the tasks' gradients, scaled to sum to 1."""

    one_backward = False

    def __init__(
        self,
        log_losses: bool,
        aggregator: Any,
        task_set: TaskSet,
        device: torch.device | str,
    ) -> None:
        super().__init__(task_set, device)
        self.log_losses = log_losses
        self.weighting = aggregator.gramian_weighting

    def backward(
        self, losses: Tensor, parameters: list[Tensor], penalty: Tensor | None = None
    ) -> Tensor:
        """As every balancer, only for the ``parameters`` (leaves)."""
        self.losses = ranks.mean(losses)
        leaves = [parameter for parameter in parameters if parameter.requires_grad]
        gradients = [
            _means(torch.autograd.grad(loss, leaves, retain_graph=True, allow_unused=True))
            for loss in losses.unbind()
        ]
        self.weights = self._weights(gradients)
        _accumulate(leaves, gradients, self.weights)
        value = (self.weights * self.losses).sum()
        if penalty is not None:
            penalty.backward()
            value = value + penalty.detach()
        return value

    def _weights(self, gradients: Sequence[tuple[Tensor | None, ...]]) -> Tensor:
        """q (n,); the same in every process, for all have the same gradients."""
        gramian = _gramian(gradients).to(self.losses)
        slopes = self.losses.reciprocal() if self.log_losses else torch.ones_like(self.losses)
        weights: Tensor = self.weighting(gramian * slopes.outer(slopes)) * slopes
        return weights / weights.sum()


def _means(gradient: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
    """A task's gradient over the whole batch, of which each process had a part."""
    found = iter(ranks.means([part for part in gradient if part is not None]))
    return tuple(None if part is None else next(found) for part in gradient)


def project_on_dual_cone(rows: Tensor, gramian: Tensor) -> Tensor:
    """For each row u of ``rows`` (m, n) the v >= u with the smallest v' G v; (m, n).

    That is eq. 3 of UPGrad's paper by its Proposition 1. For the two to five tasks here every set
    of bounds that may be active is tried, which needs no solver of quadratic programmes.
    """
    n = len(gramian)
    g = gramian.double().cpu()
    if not bool(g.isfinite().all()):
        return torch.full_like(rows, torch.nan)
    g = g / g.diagonal().sum().clamp_min(1e-300) + 1e-9 * torch.eye(
        n, dtype=torch.float64
    )  # tasks may be parallel
    sets = [torch.tensor(active) for active in itertools.product((True, False), repeat=n)]
    projected = []
    for u in rows.double().cpu():
        corners = [_with_active_bounds(u, g, active) for active in sets]
        feasible = [v for v in corners if bool((v >= u - 1e-9).all())]
        projected.append(min(feasible, key=lambda v: float(v @ g @ v)))
    return torch.stack(projected).to(gramian)


def _with_active_bounds(u: Tensor, g: Tensor, active: Tensor) -> Tensor:
    """The v with the smallest v' G v among those equal to u where ``active``."""
    v, free = u.clone(), ~active
    if bool(free.any()):
        v[free] = torch.linalg.solve(g[free][:, free], -g[free][:, active] @ u[active])
    return v


def _gramian(gradients: Sequence[tuple[Tensor | None, ...]]) -> Tensor:
    """Inner products of the tasks' gradients; (n, n), summed in float64."""
    n = len(gradients)
    entries = [[torch.zeros(()) for _ in range(n)] for _ in range(n)]
    for i in range(n):
        for j in range(i, n):
            pairs = zip(gradients[i], gradients[j], strict=True)
            products = [
                (a * b).sum(dtype=torch.float64)
                for a, b in pairs
                if a is not None and b is not None
            ]
            entries[i][j] = entries[j][i] = torch.stack(products).sum()
    return torch.stack([torch.stack(row) for row in entries])


@torch.no_grad()
def _accumulate(
    leaves: list[Tensor], gradients: Sequence[tuple[Tensor | None, ...]], weights: Tensor
) -> None:
    """Add the weighted sum of the tasks' gradients to ``.grad``."""
    for leaf, *parts in zip(leaves, *gradients, strict=True):
        known = [(q, part) for q, part in zip(weights, parts, strict=True) if part is not None]
        if not known:
            continue
        total = sum(q.to(part.dtype) * part for q, part in known)
        leaf.grad = total if leaf.grad is None else leaf.grad + total
