"""Rate and distortion of one forward pass, and ``rd_cost``, in bits per pixel."""

from __future__ import annotations

from typing import Literal

from hpcm.schema import config_class


@config_class
class LossConfig:
    """``rd_cost = lmbda * D + bpp`` with ``D = 255^2 * mse``, or ``D = 1 - ms_ssim``; images in [0, 1]."""

    metric: Literal["mse", "ms_ssim"] = "mse"
    lmbda: float = 0.013  # bits per pixel per unit of D, > 0; sets the operating point

    def __post_init__(self) -> None:
        if not self.lmbda > 0:
            raise ValueError(f"lmbda is {self.lmbda}; must be above 0")
