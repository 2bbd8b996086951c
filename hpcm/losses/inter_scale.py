"""Regularizer between the latents of neighbouring scales."""

from __future__ import annotations

from typing import Literal

from hpcm.schema import config_class, hot


@config_class
class InterScale:
    """A term of weight ``delta`` between each scale's latent and the next finer one's; 0 is off."""

    delta: float = hot(0.0)  # bits per pixel per unit of the term, >= 0; 0 is off
    mode: Literal["repo", "paper", "l1", "cosine", "saturating", "rho2"] = "rho2"
    latents: Literal["nested", "innovation"] = "innovation"  # innovation: coarser symbols set to 0
    start: float = 100 / 3000  # fraction of the horizon in [0, 1] from which the term counts
    align_lr: float = hot(1e-3)  # Adam step of the alignment, > 0; mode repo does not train it

    def __post_init__(self) -> None:
        if not self.delta >= 0:
            raise ValueError(f"delta is {self.delta}; must be 0 or more")
        if not 0 <= self.start <= 1:
            raise ValueError(f"start is {self.start}; must be a fraction of the horizon, 0 to 1")
        if not self.align_lr > 0:
            raise ValueError(f"align_lr is {self.align_lr}; must be above 0")
