"""One function per source of randomness; each is a pure function of the run's seed and a position.

Nothing random is carried from one step to the next, so a checkpoint has no generator state to save
and a resumed run draws exactly what an uninterrupted one would have drawn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive(seed: int, purpose: str, *position: int) -> int:
    """A 63-bit seed for one purpose at one position, unrelated to that of any other."""
    text = ":".join([str(seed), purpose, *map(str, position)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


@contextmanager
def initial_weights(seed: int) -> Iterator[None]:
    """Weights drawn inside depend on ``seed`` alone; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "weights"))
        yield


class NoiseSource:
    """The additive noise of training: one generator, re-seeded for every forward pass."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self._seed = seed
        self._generator = torch.Generator(device)

    def at(self, step: int, *, look: int = 0) -> torch.Generator:
        """The generator of ``step``. ``look`` 0 again gives common random numbers, 1 fresh ones."""
        self._generator.manual_seed(derive(self._seed, "noise", step, look))
        return self._generator
