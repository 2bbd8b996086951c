"""Mutated files: an error or the image that was coded; never a crash, never another image."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
import torch

from hpcm.model import build_model
from hpcm.model.bitstream import BitstreamError
from hpcm.model.container import Container
from hpcm.model.file_codec import FileCodec
from hpcm.schema import ConfigError
from tests.reference.fill_weights import fill_model

Random = np.random.Generator


@pytest.fixture(scope="module")
def codec() -> FileCodec:
    return FileCodec(fill_model(build_model("hpcm_tiny"), seed=4), "hpcm_tiny")


@pytest.fixture(scope="module", params=[False, True], ids=["exact", "portable"])
def coded(request: pytest.FixtureRequest, codec: FileCodec) -> tuple[bytes, torch.Tensor]:
    """A file and its image."""
    image = torch.rand(3, 70, 90, generator=torch.Generator().manual_seed(0))
    data = codec.compress(image, portable=request.param)
    return data, codec.decompress(data)


def flip(data: bytes, rng: Random) -> bytes:
    changed = bytearray(data)
    for place in rng.integers(0, len(data), rng.integers(1, 9)):
        changed[place] ^= 1 << rng.integers(8)
    return bytes(changed)


def cut(data: bytes, rng: Random) -> bytes:
    return data[: rng.integers(0, len(data))]


def insert(data: bytes, rng: Random) -> bytes:
    place = rng.integers(0, len(data))
    return data[:place] + rng.bytes(rng.integers(1, 64)) + data[place:]


def remove(data: bytes, rng: Random) -> bytes:
    place = rng.integers(0, len(data))
    return data[:place] + data[place + rng.integers(1, 64) :]


def overwrite(data: bytes, rng: Random) -> bytes:
    place, length = rng.integers(0, len(data)), rng.integers(1, 64)
    return (data[:place] + rng.bytes(length) + data[place + length :])[: len(data)]


def foreign(data: bytes, rng: Random) -> bytes:
    return rng.bytes(rng.integers(0, 2 * len(data)))


MUTATIONS: tuple[Callable[[bytes, Random], bytes], ...] = (
    *(flip, cut, insert, remove),
    *(overwrite, foreign),
)


def outcome(codec: FileCodec, data: bytes) -> torch.Tensor | None:
    """The image, or None where the file was refused; anything else is a crash."""
    try:
        return codec.decompress(data)
    except (BitstreamError, ConfigError):
        return None


COUNTS = [300, pytest.param(10_000, marks=pytest.mark.slow)]


@pytest.mark.parametrize("count", COUNTS)
def test_mutated_files(codec: FileCodec, coded: tuple[bytes, torch.Tensor], count: int) -> None:
    data, image = coded
    rng = np.random.default_rng(count)
    for _ in range(count):
        mutated = rng.choice(MUTATIONS)(data, rng)
        found = outcome(codec, mutated)
        assert found is None or (mutated == data and torch.equal(found, image))


@pytest.mark.parametrize("count", [20, pytest.param(1_000, marks=pytest.mark.slow)])
def test_mutated_streams_with_a_right_checksum(
    codec: FileCodec, coded: tuple[bytes, torch.Tensor], count: int
) -> None:
    """Damage that reaches the coder: it reads zeros, not foreign memory, and the symbols' checksum
    refuses what it made of them."""
    data, image = coded
    container = Container.from_bytes(data)
    streams = len(container.coded.y) + len(container.coded.z)
    streams += len(container.coded.corrections or b"")
    head, body = data[: -4 - streams], data[-4 - streams : -4]
    rng = np.random.default_rng(count)
    for _ in range(count):
        mutated = head + rng.choice((flip, overwrite))(body, rng)
        sealed = mutated + struct.pack("<I", zlib.crc32(mutated))
        found = outcome(codec, sealed)
        assert found is None or torch.equal(found, image)
