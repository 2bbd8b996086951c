"""FAMO over tasks that belong to HPCM's scales: a gamma for each scale, and a weight for each.

The sound form splits a scale's weight over its tasks and uses the same modulated shares z' in the
numerator and in the normalisation, so the weights on the losses sum to 1. The published form is the
public code of hierarchical Balanced R-D for HPCM, whose logits never move; see ``docs/methods.md``.
"""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Literal

import torch
from torch import Tensor

from hpcm.choices import OneOf
from hpcm.losses.task_set import TaskSet
from hpcm.optimizers.balancer import BalancerConfig, Noise, ScaleTasks
from hpcm.optimizers.famo import Decay, FamoBalancer, check_famo
from hpcm.optimizers.gamma_memory import GammaSchedule
from hpcm.optimizers.gamma_schedules import SCALE_GAMMA_SCHEDULES, HierarchicalGamma
from hpcm.schema import bounded, config_class, hot


@config_class
class FamoPerScale(BalancerConfig):
    """FAMO with a gamma and a weight per scale; ``published``: the first batch sets the floors."""

    name: Literal["famo_per_scale"] = "famo_per_scale"
    tasks: ScaleTasks = "exact5"  # the losses that are weighed
    gamma_s1: float = hot(8e-3)  # decay of the logits of s1's tasks, >= 0
    gamma_s2: float = hot(6e-3)  # of s2's
    gamma_s3: float = hot(4e-3)  # of s3's
    scale_weights: tuple[float, float, float] = hot((0.3, 0.4, 0.3))  # each above 0, sum 1
    w_lr: float = hot(2.5e-2)  # learning rate of the logits' Adam, > 0
    offset: float | None = None  # o = -floor, > 0; None: 1
    gamma_schedule: Annotated[GammaSchedule, OneOf(SCALE_GAMMA_SCHEDULES, "hierarchical")] = field(
        default_factory=HierarchicalGamma
    )
    weight_update_every: int = 1  # optimiser steps per second look
    decay: Decay = "l2"  # gamma inside the logits' Adam (published), or decoupled from it
    min_weight: float = hot(0.0)  # no z below this, before the scale weights, in [0, 0.2)
    published: bool = False  # as published, with what is wrong with it (docs/methods.md)

    def __post_init__(self) -> None:
        check_famo(self)
        bounded(self, "gamma_s1", "gamma_s2", "gamma_s3", least=0)
        weights = self.scale_weights
        if min(weights) <= 0 or abs(sum(weights) - 1) > 1e-6:
            raise ValueError(f"scale_weights are {list(weights)}; each must be above 0, the sum 1")
        if self.published and self.tasks not in ("published5", "exact5"):
            raise ValueError(f"tasks is {self.tasks!r}; published, it is published5 or exact5")

    def build(self, task_set: TaskSet, device: torch.device | str) -> FamoPerScaleBalancer:
        """The balancer of these tasks."""
        return FamoPerScaleBalancer(self, task_set, device)


class FamoPerScaleBalancer(FamoBalancer):
    """A task of no scale has the mean of the three gammas and no scale weight."""

    def __init__(
        self,
        config: FamoPerScale,
        task_set: TaskSet,
        device: torch.device | str,
    ) -> None:
        super().__init__(config, task_set, device)
        if config.published:
            self.floor = None  # until the first batch

    @property
    def noise(self) -> Noise:
        """Common random numbers; the published form takes no second look."""
        return "none" if self.config.published else "common"

    def configured_gammas(self, config: FamoPerScale) -> tuple[float, ...]:
        """The gammas of s1, s2, s3 before their schedule."""
        return (config.gamma_s1, config.gamma_s2, config.gamma_s3)

    def gamma_per_task(self, gammas: tuple[float, ...]) -> list[float]:
        """Each task's gamma: its scale's, or the mean."""
        return [sum(gammas) / 3 if s is None else gammas[s - 1] for s in self.scales]

    def apply(self, config: FamoPerScale, t: float, epoch: int) -> None:
        """Take hot values from ``config``: scale weights, and the gammas for this epoch."""
        super().apply(config, t, epoch)
        weights = [1 / 3 if s is None else config.scale_weights[s - 1] for s in self.scales]
        if not config.published:
            shared = [1 if s is None else self.scales.count(s) for s in self.scales]
            weights = [w / tasks for w, tasks in zip(weights, shared, strict=True)]
        self.modulation = self.weights.new_tensor(weights)

    def modulated(self, z: Tensor) -> Tensor:
        """z' = z m / sum(z m): m the weight of the task's scale, split over that scale's tasks.

        A task without a scale has the mean weight, 1/3: then the scale weights share out the rate
        and leave its balance with the distortion as it is. Published: m is not split.
        """
        weighted = z * self.modulation
        return weighted / weighted.sum()

    def normaliser(self, z: Tensor) -> Tensor:
        """z'; the published form takes z, so that its weights do not quite sum to 1."""
        return z if self.config.published else self.modulated(z)

    def weigh(self, losses: Tensor) -> tuple[Tensor, Tensor]:
        """As FAMO, with z'. The published form takes its floors from the first losses it sees."""
        if self.floor is None:
            self.floor = losses.clone()
        return super().weigh(losses)

    def observe(self, scale_losses: Tensor) -> None:
        """Remember an epoch's mean loss of each scale for the ``adaptive`` schedule."""
        self.memory.observe(scale_losses.tolist())
        self.epoch_loss.take()

    def contributions(self) -> Tensor:
        """z' (n,); the published form reports z."""
        z = self.logits.shares(self.config.min_weight)
        return z if self.config.published else self.modulated(z)

    def log(self) -> dict[str, float]:
        """As every balancer, and ``gamma/s1``, ``gamma/s2``, ``gamma/s3``."""
        values = super().log()
        del values["gamma/gamma"]
        gammas = dict(zip(("s1", "s2", "s3"), self.gammas_in_use, strict=True))
        return {**values, **{f"gamma/{scale}": gamma for scale, gamma in gammas.items()}}
