"""What a regularizer can do to a training step; a method does nothing unless it is overridden."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn


class RegularizerConfig(ABC):
    """A section of ``regularizers``. At its defaults the regularizer is off."""

    @property
    @abstractmethod
    def on(self) -> bool:
        """Whether the regularizer does anything at any time of a run."""

    @abstractmethod
    def build(self, latent_channels: int) -> Regularizer:
        """The regularizer, for a model whose latent y has so many channels."""

    def scheduled(self, t: float) -> dict[str, float]:
        """The values at progress ``t`` that follow from the config, by their logged names."""
        return {}


class Regularizer(nn.Module):
    """Changes the images of a training step or adds to its loss; an evaluation never sees it.

    The order of a step: :meth:`transform`, the model, :meth:`penalty`, the optimiser, :meth:`fit`.
    ``t`` is the progress in the horizon, from 0 to 1. ``state_dict`` is part of a checkpoint.
    """

    phase: ClassVar[int] = 0
    """A power of two, added to ``spectral/phase`` while the regularizer is active."""

    def active(self, t: float) -> bool:
        """Whether it does anything at progress ``t``; if not, a step asks for nothing else."""
        return True

    def transform(self, x: Tensor, t: float) -> Tensor:
        """The images to train on instead of ``x`` (B, 3, H, W), of the same shape."""
        return x

    def penalty(self, latents: Mapping[str, Tensor], t: float) -> Tensor | None:
        """What is added to the loss; (), in bits per pixel, or None for nothing.

        ``latents`` are the model's s1, s2, s3, each (B, C, h, w) on its own grid.
        """
        return None

    def fit(self, latents: Mapping[str, Tensor]) -> None:
        """Learn from the latents of a step that was taken."""

    def check(self, rd_cost: float) -> None:
        """Judge the steps since the last check against their mean ``rd_cost``, bits per pixel.

        Raises :class:`hpcm.losses.diverged.Diverged` if the training cannot recover.
        """

    def log(self, t: float) -> dict[str, float]:
        """What the epoch that ends at progress ``t`` reports. May wait for the device."""
        return {}
