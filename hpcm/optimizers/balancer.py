"""The base of all balancers, which is the plain sum, and what several of them are made of.

A balancer turns the tasks' losses into one gradient, sum_i q_i grad L_i, and may look at the losses
again after the step. It is not an optimizer: it never touches a parameter.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from hpcm import ranks
from hpcm.choices import NameOf
from hpcm.losses.task_set import TaskSet
from hpcm.losses.tasks import TASK_SETS

BETA1, BETA2, ADAM_EPS = 0.9, 0.999, 1e-8  # as published for every learned task weight

Noise = Literal["common", "fresh", "none"]
LAMBDA_RATIO = "balance/lambda_eff_ratio"  # key of the log: to the lambda of the tasks' own sum

#: Any task set that is complete; one with losses of each scale.
Tasks = Annotated[str, NameOf(TASK_SETS, lambda tasks: not tasks.needs_shares)]
ScaleTasks = Annotated[
    str, NameOf(TASK_SETS, lambda tasks: tasks.has_scales and not tasks.needs_shares)
]


class BalancerConfig(ABC):
    """The section ``balancer``."""

    name: str  # its key in ``BALANCERS``

    @property
    def tasks(self) -> str:
        """The losses that are weighed: a key of ``TASK_SETS``. Most have a field for it."""
        return "two_task"

    @abstractmethod
    def build(self, task_set: TaskSet, device: torch.device | str) -> Balancer:
        """The balancer of these tasks."""


class Balancer:
    """Weights 1 on every task: the gradient of the plain sum."""

    @property
    def noise(self) -> Noise:
        """How the second look is taken: the same batch with the same noise (``common``) or other
        noise (``fresh``), or not at all (``none``: ``update`` gets the losses of before twice).
        """
        return "none"

    one_backward: bool = True
    """Whether :meth:`backward` is one call of ``torch.autograd.backward``, into ``.grad``."""

    model_lr: float = math.nan
    """Learning rate of the model in the current epoch, which the run sets before :meth:`apply`."""

    def __init__(self, task_set: TaskSet, device: torch.device | str) -> None:
        self.names, self.scales = task_set.names, task_set.scales
        self.losses = torch.full((len(self.names),), torch.nan, dtype=torch.float64, device=device)
        """Of the last backward pass, means over the whole batch; (n,), float64."""
        self.weights = torch.ones(len(self.names), dtype=torch.float64, device=device)
        """Effective weight q_i of each task in the last backward pass; (n,)."""

    def backward(
        self, losses: Tensor, parameters: list[Tensor], penalty: Tensor | None = None
    ) -> Tensor:
        """Add the gradient of the weighted losses (n,) and of ``penalty`` to ``.grad``.

        Keeps the losses, of the whole batch, as ``self.losses``. Gives the weighted loss, detached,
        for the record: not finite if the losses or the weights are not. Waits for no device.
        """
        self.losses = ranks.mean(losses)
        self.weights, value = self.weigh(self.losses)
        roots, seeds = [losses], [self.weights.to(losses.dtype)]
        if penalty is not None:
            roots, seeds = [losses, penalty], [*seeds, torch.ones_like(penalty)]
            value = value + penalty.detach()
        torch.autograd.backward(roots, seeds)
        return value

    def weigh(self, losses: Tensor) -> tuple[Tensor, Tensor]:
        """Weights q (n,) for the losses (n,), float64 and detached, and the weighted loss."""
        return self.weights, losses.sum()

    def due(self, step: int) -> bool:
        """Whether the optimiser step ``step`` (0-based) wants the losses again after it."""
        return False

    def update(self, before: Tensor, after: Tensor) -> None:
        """Learn from the losses of one batch before and after a step; a sum does not.

        Both are of the whole batch; (n,), float64, detached.
        """

    def update_where(self, taken: Tensor, before: Tensor, after: Tensor) -> None:
        """:meth:`update`, of which nothing stays unless ``taken`` (); waits for no device."""
        old = self.state_dict()
        self.update(before, after)
        self.load_state_dict(chosen(taken, self.state_dict(), old))

    def apply(self, config: Any, t: float, epoch: int) -> None:
        """Take every hot value from ``config`` and the scheduled ones for progress ``t``.

        Called at the start of each epoch (0-based) and after a restore; twice is the same as once.
        """

    def observe(self, scale_losses: Tensor) -> None:
        """Take note of an epoch's mean losses of s1, s2, s3, (3,); NaN if no step was taken."""

    def contributions(self) -> Tensor:
        """Share of each task before the division by its loss, (n,); ``scale_contrib`` adds them."""
        return self.weights / self.weights.sum()

    def explain(self) -> str:
        """Why the last weighted loss may not be finite, in words; reads the device."""
        rows = zip(self.names, self.losses.tolist(), self.weights.tolist(), strict=True)
        return "; ".join(f"{name}: loss {loss:.6g}, weight {q:.3g}" for name, loss, q in rows)

    def log(self) -> dict[str, float]:
        """Weights, contributions of the scales, gammas, lambda_eff / lambda; reads the device."""
        weights = self.weights.tolist()
        values = {f"weights/{n}": q for n, q in zip(self.names, weights, strict=True)}
        shares = self.contributions().tolist()
        for scale in sorted({scale for scale in self.scales if scale is not None}):
            share = sum(c for c, s in zip(shares, self.scales, strict=True) if s == scale)
            values[f"scale_contrib/s{scale}"] = share
        ratio = self._lambda_ratio(weights)
        return values if ratio is None else {**values, LAMBDA_RATIO: ratio}

    def _lambda_ratio(self, weights: list[float]) -> float | None:
        """lambda_eff over the lambda of the tasks' plain sum.

        Mean weight on the distortions over mean weight on the rates, each by its losses.
        """
        losses = self.losses.tolist()
        mean = []
        for is_rate in (False, True):
            rows = [
                (q, loss)
                for name, q, loss in zip(self.names, weights, losses, strict=True)
                if name.startswith("rate") == is_rate
            ]
            total = sum(loss for _, loss in rows)
            mean.append(sum(q * loss for q, loss in rows) / total if total else None)
        distortion, rate = mean
        return distortion / rate if distortion is not None and rate else None

    def state_dict(self) -> dict[str, Any]:
        """Everything a bit-equal continuation needs."""
        return {"losses": self.losses, "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`; hot values come from :meth:`apply`.

        Keeps the tensors if they are on the device: no balancer changes one in place.
        """
        device = self.losses.device
        self.losses = state["losses"].to(device)
        self.weights = state["weights"].to(device)


def chosen(taken: Tensor, new: Any, old: Any) -> Any:
    """The state ``new`` if ``taken`` (), else ``old``: nested dicts of tensors.

    What is no tensor must be the same in both, for the host does not know which one it is.
    """
    if isinstance(new, Tensor):
        return torch.where(taken, new, old)
    if isinstance(new, dict):
        return {name: chosen(taken, value, old[name]) for name, value in new.items()}
    assert new == old, f"{new} is on the host, and was {old}"
    return new


class EpochMean:
    """The mean of what an epoch's steps add up, tensors of one shape; kept on the device."""

    def __init__(self, zero: Tensor) -> None:
        self.total = torch.zeros_like(zero)
        self.steps = torch.zeros((), dtype=torch.float64, device=zero.device)

    def add(self, value: Tensor) -> None:
        """One step's value; waits for no device."""
        self.total, self.steps = self.total + value, self.steps + 1.0

    def take(self) -> Tensor | None:
        """The mean since the last call, and start over; None if nothing was added."""
        mean = self.total / self.steps if self.steps else None
        self.total, self.steps = torch.zeros_like(self.total), torch.zeros_like(self.steps)
        return mean

    def state_dict(self) -> dict[str, Any]:
        """The sum and its count."""
        return {"total": self.total, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`; other keys are passed over."""
        self.total = state["total"].to(self.total.device)
        self.steps = torch.as_tensor(state["steps"], dtype=torch.float64).to(self.total.device)


class TensorAdam:
    """Adam of one small tensor that a balancer learns.

    A step makes new tensors, so a state that was given out before stays as it is.
    """

    def __init__(self, like: Tensor) -> None:
        self.exp_avg = torch.zeros_like(like)
        self.exp_avg_sq = torch.zeros_like(like)
        self.steps = torch.zeros((), dtype=torch.float64, device=like.device)

    def step(self, value: Tensor, grad: Tensor, lr: float) -> Tensor:
        """``value`` after one update against ``grad``; waits for no device."""
        self.steps = self.steps + 1.0
        self.exp_avg = BETA1 * self.exp_avg + (1.0 - BETA1) * grad
        self.exp_avg_sq = BETA2 * self.exp_avg_sq + (1.0 - BETA2) * grad.square()
        root = self.exp_avg_sq.sqrt() / (1.0 - BETA2**self.steps).sqrt()
        return value - lr / (1.0 - BETA1**self.steps) * self.exp_avg / (root + ADAM_EPS)

    def state_dict(self) -> dict[str, Any]:
        """Moments and step count."""
        return {"exp_avg": self.exp_avg, "exp_avg_sq": self.exp_avg_sq, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        device = self.exp_avg.device
        self.exp_avg = state["exp_avg"].to(device)
        self.exp_avg_sq = state["exp_avg_sq"].to(device)
        self.steps = torch.as_tensor(state["steps"], dtype=torch.float64).to(device)
