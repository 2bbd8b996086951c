"""The training noise of a test: the source that training draws from, at its first step."""

from __future__ import annotations

from torch import Tensor, nn

from hpcm.training.seeding import CounterNoise


def seeded_noise(model: nn.Module, x: Tensor, seed: int = 0) -> dict[str, Tensor]:
    """Noise for the batch ``x`` (B, 3, H, W)."""
    shapes = model.noise_shapes(*x.shape[-2:])
    return CounterNoise(seed, x.device).draw(0, shapes, range(len(x)))
