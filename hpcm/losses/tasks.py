"""Task sets: how the rate-distortion cost is split into the losses that a balancer weighs.

L_D is ``lmbda * D``; R_z, R_1, R_2, R_3 are the bits per pixel of z and of the scales s1, s2, s3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from hpcm.losses.full_precision import wide
from hpcm.losses.metrics import MS_SSIM_MIN_SIDE
from hpcm.losses.rate_distortion import PEAK, LossConfig, RDTerms, rate_distortion
from hpcm.schema import did_you_mean

COARSEST = 4  # side in pixels of a coefficient of the 2-level Haar transform's LL band

# Shares of distortion and rate that the published code gives to its tasks; a quarter of D has none.
PUBLISHED_DISTORTION = (0.40, 0.35)
PUBLISHED_RATE = (0.30, 0.40, 0.30)

Split = Callable[[Mapping[str, Any], Tensor, LossConfig, RDTerms], list[Tensor]]


@dataclass(frozen=True)
class TaskSet:
    """Named losses, each a distortion or a rate, and of one scale (1, 2, 3) or of none."""

    names: tuple[str, ...]
    kinds: tuple[Literal["D", "R"], ...]
    scales: tuple[int | None, ...]
    split: Split
    sums_to_rd_cost: bool = True
    metrics: tuple[str, ...] = ("mse", "ms_ssim")  # the distortions it can split
    lambda_of_sum: float = 1.0  # the plain sum of the tasks is rd_cost at this times lmbda

    def __call__(
        self, out: Mapping[str, Any], x: Tensor, loss: LossConfig, terms: RDTerms | None = None
    ) -> Tensor:
        """The losses of a batch, (n,); ``terms`` saves computing the same terms again."""
        if terms is None:
            terms = rate_distortion(out, x, loss.metric)
        return torch.stack(self.split(out, x, loss, terms))  # (n,)


def haar_split(x_hat: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean squared error in the LL band of a 2-level orthonormal Haar transform, and in all others.

    The transform keeps energy, so the two add up to the mean squared error. LL holds the means of
    the 4 x 4 blocks (times 4). Height and width are multiples of 4.
    """
    error = wide(x_hat) - wide(x)  # (B, C, H, W)
    means = F.avg_pool2d(error, COARSEST)  # (B, C, H/4, W/4)
    blocks = error.unflatten(-1, (-1, COARSEST)).unflatten(-3, (-1, COARSEST))
    details = blocks - means[..., None, :, None]  # (B, C, H/4, 4, W/4, 4)
    return means.square().mean(), details.square().mean()


def has_scales(tasks: str) -> bool:
    """Whether the task set ``tasks`` has losses of each of the scales s1, s2, s3."""
    return {1, 2, 3} <= set(TASK_SETS[tasks].scales)


def check(loss: LossConfig, tasks: str, patch: int | None = None) -> None:
    """Refuse a task set that cannot split this distortion, and a crop too small for it.

    Raises ``ValueError`` with the fields' paths in a run config.
    """
    if tasks not in TASK_SETS:
        raise ValueError(f"balancer.tasks: {tasks!r} is unknown{did_you_mean(tasks, TASK_SETS)}")
    able = TASK_SETS[tasks].metrics
    if loss.metric not in able:
        allowed = [name for name, set_ in TASK_SETS.items() if loss.metric in set_.metrics]
        raise ValueError(
            f"balancer.tasks: {tasks} splits a mean squared error, which loss.metric "
            f"{loss.metric!r} is not; allowed with it: {', '.join(allowed)}"
        )
    if loss.metric == "ms_ssim" and patch is not None and patch < MS_SSIM_MIN_SIDE:
        raise ValueError(
            f"data.patch: {patch}: MS-SSIM needs crops of {MS_SSIM_MIN_SIDE} pixels or more"
        )


def _two_task(_: Mapping[str, Any], __: Tensor, loss: LossConfig, terms: RDTerms) -> list[Tensor]:
    return [loss.lmbda * terms.distortion, terms.bpp]


def _rate4(_: Mapping[str, Any], __: Tensor, loss: LossConfig, terms: RDTerms) -> list[Tensor]:
    r1, r2, r3 = terms.bpp_scale
    return [loss.lmbda * terms.distortion, terms.bpp_z + r1, r2, r3]


def _exact5(out: Mapping[str, Any], x: Tensor, loss: LossConfig, terms: RDTerms) -> list[Tensor]:
    low, rest = haar_split(out["x_hat"], x)
    r1, r2, r3 = terms.bpp_scale
    weight = loss.lmbda * PEAK**2
    return [weight * low, terms.bpp_z + r1, weight * rest, r2, r3]


def _unshared5(_: Mapping[str, Any], __: Tensor, loss: LossConfig, terms: RDTerms) -> list[Tensor]:
    distortion, rate = loss.lmbda * terms.mse, terms.bpp
    return [distortion, rate, distortion, rate, rate]


def _published5(_: Mapping[str, Any], __: Tensor, loss: LossConfig, terms: RDTerms) -> list[Tensor]:
    d1, d2 = (share * loss.lmbda * terms.mse for share in PUBLISHED_DISTORTION)
    r1, r2, r3 = (share * terms.bpp for share in PUBLISHED_RATE)
    return [d1, r1, d2, r2, r3]


TASK_SETS: dict[str, TaskSet] = {
    # L_D, R
    "two_task": TaskSet(("distortion", "rate"), ("D", "R"), (None, None), _two_task),
    # L_D, R_z + R_1, R_2, R_3
    "rate4": TaskSet(
        ("distortion", "rate_s1", "rate_s2", "rate_s3"),
        ("D", "R", "R", "R"),
        (None, 1, 2, 3),
        _rate4,
    ),
    # L_D by frequency: LL band of the error with s1, all other bands with s2
    "exact5": TaskSet(
        ("low", "rate_s1", "rest", "rate_s2", "rate_s3"),
        ("D", "R", "D", "R", "R"),
        (1, 1, 2, 2, 3),
        _exact5,
        metrics=("mse",),
    ),
    # The hierarchical loss as published: fixed shares of two numbers, lmbda without 255^2
    "published5": TaskSet(
        ("distortion_s1", "rate_s1", "distortion_s2", "rate_s2", "rate_s3"),
        ("D", "R", "D", "R", "R"),
        (1, 1, 2, 2, 3),
        _published5,
        sums_to_rd_cost=False,
        metrics=("mse",),
        lambda_of_sum=sum(PUBLISHED_DISTORTION) / PEAK**2,
    ),
    # published5 before its shares, which are learned_shares' to choose
    "unshared5": TaskSet(
        ("distortion_s1", "rate_s1", "distortion_s2", "rate_s2", "rate_s3"),
        ("D", "R", "D", "R", "R"),
        (1, 1, 2, 2, 3),
        _unshared5,
        sums_to_rd_cost=False,
        metrics=("mse",),
        lambda_of_sum=2 / 3 / PEAK**2,
    ),
}
