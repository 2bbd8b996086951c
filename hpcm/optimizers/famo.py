"""FAMO: task weights that let all losses fall at the same relative rate.

Liu et al. 2023, "FAMO: Fast Adaptive Multitask Optimization", Alg. 1, on the tasks of
rate-distortion, as in Balanced R-D (Zhang et al. 2025, arXiv 2502.20161).

    D_i = L_i - b_i + eps,  z = softmax(w),  q_i = (z_i / D_i) / sum_j (z_j / D_j)

The gradient is sum_i q_i grad L_i, a convex combination. The floors b are -offset: with offset o
the balance is held at lambda_eff = lambda (o + R) / (o + L_D); towards o = 0 lambda drops out and
the weighted loss has no minimum on a rate-distortion curve; for large o it is the plain sum.
"""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from hpcm.choices import OneOf
from hpcm.losses.task_set import TaskSet
from hpcm.optimizers.balancer import (
    Balancer,
    BalancerConfig,
    EpochMean,
    Noise,
    Tasks,
    TensorAdam,
)
from hpcm.optimizers.gamma_memory import GammaMemory, GammaSchedule
from hpcm.optimizers.gamma_schedules import GAMMA_SCHEDULES, FixedGamma
from hpcm.schedules import Clock
from hpcm.schema import bounded, config_class, hot

EPS = 1e-8  # added to every loss above its floor, as published

Decay = Literal["l2", "decoupled"]


@config_class
class Famo(BalancerConfig):
    """FAMO with one gamma. ``published``: floor -1, second look with fresh noise, nothing else."""

    name: Literal["famo"] = "famo"
    tasks: Tasks = "two_task"  # the losses that are weighed
    gamma: float = hot(3e-3)  # decay of the logits towards equal weights, >= 0
    w_lr: float = hot(2.5e-2)  # learning rate of the logits' Adam, > 0
    offset: float | None = None  # o = -floor, > 0; None: 1
    gamma_schedule: Annotated[GammaSchedule, OneOf(GAMMA_SCHEDULES, "fixed")] = field(
        default_factory=FixedGamma
    )
    weight_update_every: int = 1  # optimiser steps per second look
    decay: Decay = "l2"  # gamma inside the logits' Adam (published), or decoupled from it
    min_weight: float = hot(0.0)  # no z below this, in [0, 0.2)
    published: bool = False  # as published, with what is wrong with it (docs/methods.md)

    def __post_init__(self) -> None:
        check_famo(self)
        bounded(self, "gamma", least=0)
        if self.published and self.tasks != "two_task":
            raise ValueError(f"tasks is {self.tasks!r}; the published form has two_task")

    def build(self, task_set: TaskSet, device: torch.device | str) -> FamoBalancer:
        """The balancer of these tasks."""
        return FamoBalancer(self, task_set, device)


def check_famo(config: Any) -> None:
    """Refuse what neither form can work with, and what the published form does not have."""
    bounded(config, "w_lr", above=0)
    bounded(config, "weight_update_every", least=1)
    if config.offset is not None and not config.offset > 0:
        raise ValueError(
            f"offset is {config.offset}; must be above 0, for a floor (-offset) at or above a loss "
            "has no logarithm"
        )
    if not 0 <= config.min_weight < 0.2:
        raise ValueError(f"min_weight is {config.min_weight}; must be in [0, 0.2)")
    if not config.published:
        return
    sound_only = {"offset": None, "weight_update_every": 1, "decay": "l2", "min_weight": 0.0}
    for name, default in sound_only.items():
        if getattr(config, name) != default:
            raise ValueError(
                f"{name} is {getattr(config, name)!r}; the published form has no such choice, "
                "leave it out or set published: false"
            )


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
        self.w = state["w"].to(self.w.device)
        self.adam.load_state_dict(state["adam"])


class FamoBalancer(Balancer):
    """FAMO's weights. ``update`` wants the losses of the same batch after the step."""

    def __init__(
        self,
        config: Any,
        task_set: TaskSet,
        device: torch.device | str,
    ) -> None:
        super().__init__(task_set, device)
        self.config = config
        self.logits = Logits(len(self.names), device)
        self.memory = GammaMemory(len(self.configured_gammas(config)))
        self.epoch_loss = EpochMean(self.weights.new_zeros(()))  # all tasks together
        self.floor: Tensor | None = self.weights.new_full(
            (len(self.names),), -(config.offset or 1.0)
        )
        self.apply(config, 0.0, 0)
        self.weights = self.contributions()

    @property
    def noise(self) -> Noise:
        """Common random numbers, unless published: noise in L after would pass for improvement."""
        return "fresh" if self.config.published else "common"

    def configured_gammas(self, config: Any) -> tuple[float, ...]:
        """The gammas before their schedule: one."""
        return (config.gamma,)

    def gamma_per_task(self, gammas: tuple[float, ...]) -> list[float]:
        """Each task's gamma."""
        return list(gammas) * len(self.names)

    def modulated(self, z: Tensor) -> Tensor:
        """z' (n,): the shares as they weigh the losses."""
        return z

    def normaliser(self, z: Tensor) -> Tensor:
        """The shares (n,) that the normalisation c is made of: z', so that the weights sum to 1."""
        return self.modulated(z)

    def weigh(self, losses: Tensor) -> tuple[Tensor, Tensor]:
        """q_i = (z'_i / D_i) / c and sum_i z'_i log(D_i) / c."""
        self.epoch_loss.add(losses.sum())
        z = self.logits.shares(self.config.min_weight)
        above = self.above_floor(losses)
        c = (self.normaliser(z) / above).sum()
        shares = self.modulated(z)
        return shares / above / c, (shares * above.log()).sum() / c

    def above_floor(self, losses: Tensor) -> Tensor:
        """D (n,). At or below a floor it is NaN: with a negative D a step would raise its loss."""
        assert self.floor is not None  # the form that has none at first takes it from its losses
        above = losses - self.floor + EPS
        return above if self.config.published else above.where(losses > self.floor, torch.nan)

    def due(self, step: int) -> bool:
        """Every ``weight_update_every``-th optimiser step, the first one included."""
        return bool(step % self.config.weight_update_every == 0)

    def update(self, before: Tensor, after: Tensor) -> None:
        """Move the logits by how much each task's log loss fell from ``before`` to ``after``."""
        delta = self.above_floor(before).log() - self.above_floor(after).log()
        if not self.config.published:  # a second look that is not finite teaches nothing
            delta = delta.where(delta.isfinite().all(), 0.0)
        config = self.config
        self.logits.improve(delta, self.gammas, config.w_lr, config.decay, config.min_weight)

    def apply(self, config: Any, t: float, epoch: int) -> None:
        """Take hot values from ``config``, and the gammas its schedule gives for this epoch."""
        self.config = config
        configured = self.configured_gammas(config)
        ratios = self.memory.ratios(config.gamma_schedule, Clock.at(t, epoch, config.published))
        self.gammas_in_use = tuple(g * r for g, r in zip(configured, ratios, strict=True))
        self.gammas = self.weights.new_tensor(self.gamma_per_task(self.gammas_in_use))

    def observe(self, scale_losses: Tensor) -> None:
        """Remember an epoch's mean loss for the ``adaptive`` schedule: of all tasks, for one gamma.

        The two tasks have no scale, so the scales' losses would be zeros.
        """
        mean = self.epoch_loss.take()
        if mean is not None:
            self.memory.observe([float(mean)])

    def contributions(self) -> Tensor:
        """z' (n,)."""
        return self.modulated(self.logits.shares(self.config.min_weight))

    def explain(self) -> str:
        """Losses at or below their floor, by name, else every task's loss and weight."""
        floors = [torch.nan] * len(self.names) if self.floor is None else self.floor.tolist()
        rows = zip(self.names, self.losses.tolist(), floors, strict=True)
        low = [
            f"{n}: loss {loss:.6g} is at or below its floor {b:.6g}"
            for n, loss, b in rows
            if loss <= b
        ]
        return "; ".join(low) or super().explain()

    def log(self) -> dict[str, float]:
        """As every balancer, and ``gamma/gamma``."""
        return {**super().log(), "gamma/gamma": self.gammas_in_use[0]}

    def state_dict(self) -> dict[str, Any]:
        """Logits and their Adam, floors, the memory of the gamma schedule, the last weights."""
        return {
            **super().state_dict(),
            "logits": self.logits.state_dict(),
            "memory": self.memory.state_dict(),
            "floor": self.floor,
            **self.epoch_loss.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`; the gammas follow with :meth:`apply`."""
        super().load_state_dict(state)
        self.logits.load_state_dict(state["logits"])
        self.memory.load_state_dict(state["memory"])
        self.epoch_loss.load_state_dict(state)
        floor = state["floor"]
        self.floor = None if floor is None else floor.to(self.weights.device)
