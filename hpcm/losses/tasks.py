"""Task sets: how the rate-distortion cost is split into the losses that a balancer weighs.

L_D is ``lmbda * D``; R_z, R_1, R_2, R_3 are the bits per pixel of z and of the scales s1, s2, s3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from hpcm.full_precision import at_least_float32
from hpcm.losses.distortions import DISTORTIONS, PEAK
from hpcm.losses.rate_distortion import LossConfig, RDTerms
from hpcm.losses.task_set import TaskSet

COARSEST = 4  # side in pixels of a coefficient of the 2-level Haar transform's LL band

# Shares of distortion and rate that the published code gives to its tasks; a quarter of D has none.
PUBLISHED_DISTORTION = (0.40, 0.35)
PUBLISHED_RATE = (0.30, 0.40, 0.30)


def haar_split(x_hat: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean squared error in the LL band of a 2-level orthonormal Haar transform, and in all others.

    The transform keeps energy, so the two add up to the mean squared error. LL holds the means of
    the 4 x 4 blocks (times 4). Height and width are multiples of 4.
    """
    error = at_least_float32(x_hat) - at_least_float32(x)  # (B, C, H, W)
    means = F.avg_pool2d(error, COARSEST)  # (B, C, H/4, W/4)
    blocks = error.unflatten(-1, (-1, COARSEST)).unflatten(-3, (-1, COARSEST))
    details = blocks - means[..., None, :, None]  # (B, C, H/4, 4, W/4, 4)
    return means.square().mean(), details.square().mean()


def check(loss: LossConfig, tasks: str, patch: int) -> None:
    """Refuse a task set that cannot split this distortion, and crops too small for it.

    ``patch`` is the side of a crop in pixels. Raises ``ValueError`` with the fields' paths in a run
    config.
    """
    distortion = DISTORTIONS[loss.metric]
    if TASK_SETS[tasks].needs_mse and not distortion.is_mse:
        allowed = [name for name, other in TASK_SETS.items() if not other.needs_mse]
        raise ValueError(
            f"balancer.tasks: {tasks} splits a mean squared error, which loss.metric "
            f"{loss.metric!r} is not; allowed with it: {', '.join(allowed)}"
        )
    if patch < distortion.smallest_side:
        raise ValueError(
            f"data.patch: {patch}: {loss.metric} needs crops of {distortion.smallest_side} pixels "
            "or more"
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
        needs_mse=True,
    ),
    # The hierarchical loss as published: fixed shares of two numbers, lmbda without 255^2
    "published5": TaskSet(
        ("distortion_s1", "rate_s1", "distortion_s2", "rate_s2", "rate_s3"),
        ("D", "R", "D", "R", "R"),
        (1, 1, 2, 2, 3),
        _published5,
        needs_mse=True,
        lambda_of_sum=sum(PUBLISHED_DISTORTION) / PEAK**2,
    ),
    # published5 before its shares, which are learned_shares' to choose
    "unshared5": TaskSet(
        ("distortion_s1", "rate_s1", "distortion_s2", "rate_s2", "rate_s3"),
        ("D", "R", "D", "R", "R"),
        (1, 1, 2, 2, 3),
        _unshared5,
        needs_mse=True,
        needs_shares=True,
        lambda_of_sum=2 / 3 / PEAK**2,
    ),
}
