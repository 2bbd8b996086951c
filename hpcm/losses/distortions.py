"""Distortions: how far a reconstruction is from its image. One line of `DISTORTIONS` each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from hpcm.losses.metrics import MS_SSIM_MIN_SIDE, ms_ssim

PEAK = 255.0  # published values of lmbda are for images in [0, 255]


@dataclass(frozen=True)
class Distortion:
    """A distortion of ``x_hat`` (B, 3, H, W) from ``x``, both in [0, 1]; 0 for equal images."""

    of: Callable[[Tensor, Tensor], Tensor]  # (x_hat, x) to (), differentiable, float32 or wider
    is_mse: bool = False  # a mean squared error times 255^2, which tasks may split by frequency
    smallest_side: int = 1  # pixels of a crop


def mse(x_hat: Tensor, x: Tensor) -> Tensor:
    """``255^2 * mse``; ()."""
    return PEAK**2 * F.mse_loss(x_hat, x)


def one_minus_ms_ssim(x_hat: Tensor, x: Tensor) -> Tensor:
    """``1 - ms_ssim``, the mean over the images; ()."""
    return 1 - ms_ssim(x_hat, x).mean()


DISTORTIONS: dict[str, Distortion] = {
    "mse": Distortion(mse, is_mse=True),
    "ms_ssim": Distortion(one_minus_ms_ssim, smallest_side=MS_SSIM_MIN_SIDE),
}
