"""One function per source of randomness; each is a pure function of the run's seed and a position.

Nothing random is carried from one step to the next, so a checkpoint has no generator state to save
and a resumed run draws exactly what an uninterrupted one would have drawn.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


def derive(seed: int, purpose: str, *position: int) -> int:
    """A 63-bit seed for one purpose at one position, unrelated to that of any other."""
    text = ":".join([str(seed), purpose, *map(str, position)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


@contextmanager
def initial_weights(seed: int) -> Iterator[None]:
    """Weights drawn inside depend only on ``seed``; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "weights"))
        yield


GAMMA = 0x9E3779B97F4A7C15 - 2**64  # odd, near 2^64 over the golden ratio
MIX = ((30, 0xBF58476D1CE4E5B9 - 2**64), (27, 0x94D049BB133111EB - 2**64))
UNIT = 24  # bits of a draw: what float32 holds

Shapes = Mapping[str, Sequence[int]]  # of one sample, by name


class CounterNoise:
    """The additive noise of training, a pure function of seed, step, look, sample and element.

    Numbers of a sample are SplitMix64's (Steele, Lea and Flood 2014) at their places, so they are
    the same on every device, and for every number of processes that share a batch.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self._seed, self._device = seed, device

    def draw(self, step: int, shapes: Shapes, samples: range, look: int = 0) -> dict[str, Tensor]:
        """Noise in [-0.5, 0.5) for ``samples`` of the batch: each shape with them in front.

        ``look`` 0 again gives common random numbers, 1 fresh ones. Float32; waits for no device.
        """
        sizes = [math.prod(shape) for shape in shapes.values()]
        key = derive(self._seed, "noise", step, look)
        first = torch.arange(samples.start, samples.stop, device=self._device)
        streams = mix(first[:, None] * GAMMA + key)  # (samples, 1)
        places = torch.arange(1, sum(sizes) + 1, device=self._device)
        bits = mix(places * GAMMA + streams)  # (samples, elements)
        bits = bits.bitwise_right_shift_(64 - UNIT).bitwise_and_(2**UNIT - 1)
        values = bits.float().mul_(2.0**-UNIT).sub_(0.5)
        parts = zip(shapes.items(), values.split(sizes, dim=1), strict=True)
        return {name: part.unflatten(1, tuple(shape)) for (name, shape), part in parts}


class GeneratorNoise:
    """The noise of earlier versions, for runs that began with it: PyTorch's generator."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self._seed, self._device = seed, device
        self._generator = torch.Generator(device)

    def draw(self, step: int, shapes: Shapes, samples: range, look: int = 0) -> dict[str, Tensor]:
        """As `CounterNoise`, but for one whole batch."""
        self._generator.manual_seed(derive(self._seed, "noise", step, look))
        return {
            name: torch.empty(len(samples), *shape, device=self._device).uniform_(
                -0.5, 0.5, generator=self._generator
            )
            for name, shape in shapes.items()
        }


#: By the name in a checkpoint's record; a record without a name is older than the second kind.
NOISES: dict[str, type[CounterNoise | GeneratorNoise]] = {
    "splitmix64": CounterNoise,
    "generator": GeneratorNoise,
}
NOISE, NOISE_BEFORE = "splitmix64", "generator"


def mix(x: Tensor) -> Tensor:
    """SplitMix64's finaliser on int64, in place; a shift of a negative number fills with ones."""
    for shift, factor in MIX:
        x = x.bitwise_xor_((x >> shift).bitwise_and_(2 ** (64 - shift) - 1)).mul_(factor)
    return x.bitwise_xor_((x >> 31).bitwise_and_(2**33 - 1))
