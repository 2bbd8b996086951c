"""Rate and distortion of one forward pass, and ``rd_cost``, in bits per pixel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hpcm.choices import NameOf
from hpcm.defaults import LMBDA, METRIC
from hpcm.full_precision import at_least_float32
from hpcm.losses.distortions import DISTORTIONS
from hpcm.schema import bounded, config_class

STEPS_OF_SCALE = (2, 3, 6)  # coding steps of s1, s2, s3, in coding order (HPCM, section 3.2)


@config_class
class LossConfig:
    """``rd_cost = lmbda * D + bpp``; D is ``255^2 * mse`` or ``1 - ms_ssim``, images in [0, 1]."""

    metric: Annotated[str, NameOf(DISTORTIONS)] = METRIC  # the distortion D
    lmbda: float = LMBDA  # bits per pixel per unit of D, > 0; sets the operating point

    def __post_init__(self) -> None:
        bounded(self, "lmbda", above=0)


@dataclass(frozen=True)
class RDTerms:
    """Rate and distortion of a batch, differentiable, float32 or wider."""

    distortion: Tensor  # (), D of the loss's metric
    bpp: Tensor  # (), bits per pixel of y and z
    bpp_z: Tensor  # ()
    bpp_scale: Tensor  # (3,), y's part in s1, s2, s3
    mse: Tensor  # (), on [0, 1], whatever the distortion is

    def rd_cost(self, lmbda: float) -> Tensor:
        """``lmbda * D + bpp``, in bits per pixel; ()."""
        return lmbda * self.distortion + self.bpp


def rate_distortion(out: Mapping[str, Any], x: Tensor, metric: str = "mse") -> RDTerms:
    """The terms of a model's output for the images ``x`` (B, 3, H, W), pixels counted on ``x``.

    The reconstruction counts as the model gives it, not clamped, as in training. Raises
    ``ValueError`` if it has another shape than ``x``.
    """
    x_hat, target = at_least_float32(out["x_hat"]), at_least_float32(x)  # (B, 3, H, W)
    if x_hat.shape != target.shape:
        raise ValueError(f"x_hat is {tuple(x_hat.shape)} but x is {tuple(target.shape)}")
    pixels = x.shape[0] * x.shape[-2] * x.shape[-1]
    bpp_z = at_least_float32(out["bits"]["z"]).sum() / pixels
    steps = at_least_float32(out["bits"]["steps"]).sum(dim=0) / pixels  # (11,)
    bpp_scale = torch.stack([part.sum() for part in steps.split(STEPS_OF_SCALE)])  # (3,)
    return RDTerms(
        distortion=DISTORTIONS[metric].of(x_hat, target),
        bpp=bpp_z + bpp_scale.sum(),
        bpp_z=bpp_z,
        bpp_scale=bpp_scale,
        mse=F.mse_loss(x_hat, target),
    )
