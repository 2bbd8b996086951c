"""Ways to damage a coded file; each takes the file, where its parts are, and a random source."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Random = np.random.Generator
LONGEST = 64  # bytes that one mutation inserts, removes or overwrites
WORD = 4  # bytes that the coder reads at once

# Sizes and lengths at which arithmetic on them goes wrong, and plausible ones.
EDGES = (0, 1, 64, 255, 256, 257, 512, 2048, 8192, 2**16 - 1, 2**20, 2**31 - 1, 2**32 - 1)


@dataclass(frozen=True)
class Layout:
    """Places of the fields of a file, in the order of `hpcm.model.container`: (start, length)."""

    texts: tuple[tuple[int, int], ...]  # with the byte of their length
    numbers: tuple[tuple[int, int], ...]
    streams: int  # where they begin

    @classmethod
    def of(cls, data: bytes) -> Layout:
        """Walk over the header of an undamaged file."""
        texts, at = [], 5
        for field in ("model", "digest", "config", "arithmetic"):
            length = 8 if field == "digest" else 1 + data[at]
            texts.append((at, length))
            at += length
        numbers = []
        for length in (4, 4, 2, 2, 1, 4, 4, 4, 4):
            numbers.append((at, length))
            at += length
        return cls(tuple(texts), tuple(numbers), at)

    def parts(self, data: bytes) -> list[bytes]:
        """The three streams of an undamaged file."""
        streams, at = [], self.streams
        for start, length in self.numbers[-3:]:
            end = at + int.from_bytes(data[start : start + length], "little")
            streams.append(data[at:end])
            at = end
        return streams

    def joined(self, data: bytes, streams: list[bytes]) -> bytes:
        """The file with other streams, and their lengths in the header."""
        lengths = struct.pack("<III", *(len(stream) for stream in streams))
        head = data[: self.numbers[-3][0]] + lengths
        return b"".join((head, *streams, data[-4:]))


def sealed(data: bytes) -> bytes:
    """The file with its checksum made right again."""
    return data[:-4] + struct.pack("<I", zlib.crc32(data[:-4]))


def flip(data: bytes, layout: Layout, rng: Random) -> bytes:
    """One to eight bits anywhere."""
    return _flipped(data, 0, len(data), rng)


def flip_stream(data: bytes, layout: Layout, rng: Random) -> bytes:
    """One to eight bits of the streams."""
    return _flipped(data, layout.streams, len(data) - 4, rng)


def flip_header(data: bytes, layout: Layout, rng: Random) -> bytes:
    """One to eight bits of the header."""
    return _flipped(data, 0, layout.streams, rng)


def truncate(data: bytes, layout: Layout, rng: Random) -> bytes:
    """The start of the file."""
    return data[: rng.integers(0, len(data))]


def insert(data: bytes, layout: Layout, rng: Random) -> bytes:
    """Foreign bytes between others."""
    place = rng.integers(0, len(data))
    return data[:place] + rng.bytes(rng.integers(1, LONGEST)) + data[place:]


def remove(data: bytes, layout: Layout, rng: Random) -> bytes:
    """Without some bytes."""
    place = rng.integers(0, len(data))
    return data[:place] + data[place + rng.integers(1, LONGEST) :]


def overwrite(data: bytes, layout: Layout, rng: Random) -> bytes:
    """Foreign bytes in place of others."""
    place, length = rng.integers(0, len(data)), rng.integers(1, LONGEST)
    return (data[:place] + rng.bytes(length) + data[place + length :])[: len(data)]


def splice(data: bytes, layout: Layout, rng: Random) -> bytes:
    """A piece of the file over another piece of it."""
    source, target = rng.integers(0, len(data), 2)
    length = rng.integers(1, len(data) // 2)
    piece = data[source : source + length]
    return (data[:target] + piece + data[target + len(piece) :])[: len(data)]


def foreign(data: bytes, layout: Layout, rng: Random) -> bytes:
    """Bytes that were never a file, every other time behind a true start."""
    start = data[: rng.integers(0, layout.streams)] if rng.random() < 0.5 else b""
    return start + rng.bytes(rng.integers(0, 2 * len(data)))


def number(data: bytes, layout: Layout, rng: Random) -> bytes:
    """Another number in a field of the header: an edge, a near one, or any."""
    start, length = layout.numbers[rng.integers(len(layout.numbers))]
    found = int.from_bytes(data[start : start + length], "little")
    near = found + int(rng.integers(-3, 4))
    value = (EDGES[rng.integers(len(EDGES))], near, int(rng.integers(2**32)))[rng.integers(3)]
    changed = (value % 2 ** (8 * length)).to_bytes(length, "little")
    return data[:start] + changed + data[start + length :]


def lengthen(data: bytes, layout: Layout, rng: Random) -> bytes:
    """One stream longer, at its end or begin: ones, zeros, any bytes, or itself again."""
    streams = layout.parts(data)
    chosen = rng.integers(len(streams))
    count = int(WORD * rng.integers(1, (16, 1024, 2**16)[rng.integers(3)]))
    any_bytes = rng.bytes(count)
    more = (b"\xff" * count, bytes(count), any_bytes, streams[chosen])[rng.integers(4)]
    state = streams[chosen][: 2 * WORD * int(rng.integers(2))]
    longer = streams[chosen] + more if rng.random() < 0.5 else state + more + streams[chosen]
    streams[chosen] = longer
    return layout.joined(data, streams)


def swap(data: bytes, layout: Layout, rng: Random) -> bytes:
    """Two streams exchanged, or two pieces of one."""
    streams = layout.parts(data)
    first, second = rng.choice(len(streams), 2, replace=False)
    if rng.random() < 0.3:
        streams[first], streams[second] = streams[second], streams[first]
        return layout.joined(data, streams)
    words = len(streams[first]) // WORD
    start, middle, end = sorted(WORD * int(place) for place in rng.integers(0, words + 1, 3))
    stream = streams[first]
    streams[first] = stream[:start] + stream[middle:end] + stream[start:middle] + stream[end:]
    return layout.joined(data, streams)


def size(data: bytes, layout: Layout, rng: Random) -> bytes:
    """Another image size, with the padding that belongs to it: it passes every check of form."""
    height, width = (int(side) for side in rng.integers(1, (600, 600)))
    if rng.random() < 0.3:
        height, width = (256 * int(side) for side in rng.integers(1, 33, 2))
    top, left = (-height % 256) // 2, (-width % 256) // 2
    start = layout.numbers[0][0]
    return data[:start] + struct.pack("<IIHH", height, width, top, left) + data[start + 12 :]


def text(data: bytes, layout: Layout, rng: Random) -> bytes:
    """Another name, digest or arithmetic, of the length it says or of another."""
    start, length = layout.texts[rng.integers(len(layout.texts))]
    chosen = (
        *(b"", b"hpcm_base", b"cpu AVX2; float32; 1 threads; torch 2.8.0", b"; ; ; "),
        *(b"cpu AVX512; float32; 999999999 threads; torch 2.15.0", b"cpu; float64; -1; torch"),
        *(rng.bytes(rng.integers(0, 256)), b"\xff" * 255),
    )[rng.integers(8)]
    claimed = len(chosen) if rng.random() < 0.8 else int(rng.integers(256))
    return data[:start] + bytes([claimed]) + chosen + data[start + length :]


def threads(data: bytes, layout: Layout, rng: Random) -> bytes:
    """Another number of threads, which a decoder of an exact file takes."""
    start, length = layout.texts[-1]
    fields = data[start + 1 : start + length].split(b"; ")
    fields[2] = b"%d threads" % int(2 ** rng.integers(0, 40))
    joined = b"; ".join(fields)
    return data[:start] + bytes([len(joined)]) + joined + data[start + length :]


MUTATIONS: tuple[Callable[[bytes, Layout, Random], bytes], ...] = (
    *(flip, flip_stream, flip_header, truncate, insert, remove),
    *(overwrite, splice, foreign, number, size, text, threads, lengthen, swap),
)


def _flipped(data: bytes, start: int, end: int, rng: Random) -> bytes:
    changed = bytearray(data)
    for place in rng.integers(start, end, rng.integers(1, 9)):
        changed[place] ^= 1 << int(rng.integers(8))
    return bytes(changed)
