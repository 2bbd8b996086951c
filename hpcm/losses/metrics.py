"""PSNR and MS-SSIM of images in [0, 1], one value per image."""

from __future__ import annotations

import torch
from torch import Tensor

from hpcm.full_precision import at_least_float32, full_precision
from hpcm.schema import ConfigError

MS_SSIM_MIN_SIDE = 161  # pixels: five levels of an 11-pixel window


def psnr(x_hat: Tensor, x: Tensor) -> Tensor:
    """PSNR in dB of each image after clamping ``x_hat`` to [0, 1], without rounding; (B,).

    Equal images give infinity.
    """
    error = at_least_float32(x_hat).clamp(0, 1) - at_least_float32(x)
    return mse_to_db(error.square().mean(dim=(1, 2, 3)))  # (B,)


def psnr_8bit(x_hat: Tensor, x: Tensor) -> Tensor:
    """PSNR in dB of each image as it would be written to an 8-bit file; (B,)."""
    error = _to_8bit(x_hat) - _to_8bit(x)
    return mse_to_db(error.square().mean(dim=(1, 2, 3)) / 255**2)  # (B,)


def mse_to_db(mse: Tensor) -> Tensor:
    """PSNR in dB of a mean squared error on [0, 1]."""
    return -10 * torch.log10(mse)


def ms_ssim(x_hat: Tensor, x: Tensor) -> Tensor:
    """Five-level MS-SSIM of each image, differentiable; (B,).

    Wang, Simoncelli and Bovik 2003, as the package pytorch-msssim computes it. Raises
    :class:`ConfigError` if that package is missing or an image is too small for five levels.
    """
    side = min(x.shape[-2:])
    if side < MS_SSIM_MIN_SIDE:
        raise ConfigError(
            f"MS-SSIM of an image with a side of {side} pixels; must be {MS_SSIM_MIN_SIDE} or more"
        )
    try:
        from pytorch_msssim import ms_ssim as per_image
    except ImportError:
        raise ConfigError(
            "MS-SSIM needs the package pytorch-msssim: pip install 'hpcm-tune[extras]'"
        ) from None
    x_hat, x = at_least_float32(x_hat), at_least_float32(x)
    with full_precision(x):
        values: Tensor = per_image(x_hat, x, data_range=1.0, size_average=False)  # (B,)
    return values


def ms_ssim_to_db(value: Tensor) -> Tensor:
    """MS-SSIM in dB, ``-10 log10(1 - ms_ssim)``."""
    return -10 * torch.log10(1 - value)


def _to_8bit(x: Tensor) -> Tensor:
    return (at_least_float32(x).clamp(0, 1) * 255).round()
