"""The file around an image's streams: says what it is, and how to tell that it cannot be decoded.

All numbers little-endian. ``text`` is one byte of length and that many bytes of UTF-8.

    4s  magic "HPCM"                    u8   version, 1
    text  model, a name in MODELS       8s   digest of weights and code tables
    text  config digest, "" if unknown  text arithmetic, see `Arithmetic`
    u32 height, u32 width, pixels       u16 top, u16 left, padding
    u8  portable: 1, else 0             u32  CRC-32 of the symbols xor that of all before
    u32 x 3  lengths of z, y, corrections
    z, y, corrections                   u32  CRC-32 of everything before
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass

import torch
from torch import Tensor

from hpcm.model.bitstream import BitstreamError
from hpcm.model.codec import CodedImage
from hpcm.model.hpcm import HPCM

MAGIC = b"HPCM"
VERSION = 1
LONGEST_SIDE = 2**20  # pixels; larger is damage
_DIGEST = 8  # bytes
_IMAGE = struct.Struct("<IIHHB")
_STREAMS = struct.Struct("<IIII")
_CRC = struct.Struct("<I")


@dataclass(frozen=True)
class Arithmetic:
    """What decides how a network rounds; equal on both sides, unless the file is portable."""

    device: str  # the processor: "cpu AVX512", or a GPU's name
    dtype: str
    threads: int  # of the CPU
    torch: str

    @classmethod
    def of(cls, model: HPCM) -> Arithmetic:
        """The arithmetic of this machine, with the threads set now."""
        where = model.means_hyper.device
        name = (
            torch.cuda.get_device_name(where)
            if where.type == "cuda"
            else f"{where.type} {torch.backends.cpu.get_cpu_capability()}"
        )
        dtype = str(model.means_hyper.dtype).removeprefix("torch.")
        return cls(name, dtype, torch.get_num_threads(), torch.__version__)

    def __str__(self) -> str:
        return f"{self.device}; {self.dtype}; {self.threads} threads; torch {self.torch}"

    @classmethod
    def parse(cls, text: str) -> Arithmetic:
        """The inverse of ``str``. Raises BitstreamError."""
        try:
            device, dtype, threads, version = text.split("; ")
            return cls(
                device, dtype, int(threads.removesuffix(" threads")), version.removeprefix("torch ")
            )
        except ValueError:
            raise BitstreamError(f"unreadable arithmetic {text!r}") from None


@dataclass(frozen=True)
class Container:
    """One coded image with everything a decoder must know or check."""

    model: str
    weights: bytes  # digest
    config: str  # digest of the run's config, or ""
    arithmetic: Arithmetic
    height: int  # of the image, pixels
    width: int
    top: int  # padding above and left
    left: int
    coded: CodedImage

    def to_bytes(self) -> bytes:
        """The file."""
        coded = self.coded
        corrections = coded.corrections or b""
        head = [MAGIC, bytes([VERSION]), _text(self.model), self.weights]
        head += [_text(self.config), _text(str(self.arithmetic))]
        portable = coded.corrections is not None
        head += [_IMAGE.pack(self.height, self.width, self.top, self.left, portable)]
        about = b"".join(head)
        crc = (coded.symbol_crc or 0) ^ zlib.crc32(about)
        lengths = _STREAMS.pack(crc, len(coded.z), len(coded.y), len(corrections))
        body = b"".join([about, lengths, coded.z, coded.y, corrections])
        return body + _CRC.pack(zlib.crc32(body))

    @classmethod
    def from_bytes(cls, data: bytes) -> Container:
        """Read a file. Raises BitstreamError for what is no container, another version, damaged."""
        if data[:4] != MAGIC:
            raise BitstreamError("not an HPCM file")
        if len(data) < 5 or data[4] != VERSION:
            found = data[4] if len(data) > 4 else "none"
            raise BitstreamError(f"version {found} of the format; this program reads {VERSION}")
        if len(data) < 9 or zlib.crc32(data[:-4]) != _CRC.unpack(data[-4:])[0]:
            raise BitstreamError("the file is cut or damaged: its checksum differs")
        reader = _Reader(data[5:-4])
        model, weights = reader.text(), reader.take(_DIGEST)
        config, arithmetic = reader.text(), Arithmetic.parse(reader.text())
        height, width, top, left, portable = _IMAGE.unpack(reader.take(_IMAGE.size))
        about = zlib.crc32(data[: len(data) - 4 - reader.left()])
        crc, *lengths = _STREAMS.unpack(reader.take(_STREAMS.size))
        if not (0 < height <= LONGEST_SIDE and 0 < width <= LONGEST_SIDE and portable in (0, 1)):
            raise BitstreamError(f"an image of {width} x {height} pixels is not possible")
        z, y, corrections = (reader.take(length) for length in lengths)
        if reader.left():
            raise BitstreamError("bytes follow the last stream")
        coded = CodedImage(y, z, (0, 0), crc ^ about, corrections if portable else None)
        return cls(model, weights, config, arithmetic, height, width, top, left, coded)


def weights_digest(model: HPCM) -> bytes:
    """8 bytes over all weights and code tables: equal on both sides, or decoding is nonsense."""
    model.update()
    digest = hashlib.sha256()
    for key, value in model.state_dict().items():
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(_bytes(value))
    return digest.digest()[:_DIGEST]


def _bytes(value: Tensor) -> bytes:
    return value.detach().cpu().contiguous().numpy().tobytes()


def _text(text: str) -> bytes:
    encoded = text.encode()
    if len(encoded) > 255:
        raise ValueError(f"{text[:40]!r} .. is longer than 255 bytes")
    return bytes([len(encoded)]) + encoded


class _Reader:
    """Takes fields from the front. Raises BitstreamError if there is too little."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise BitstreamError("the file ends inside a field")
        part = self._data[self._at : end]
        self._at = end
        return part

    def text(self) -> str:
        try:
            return self.take(self.take(1)[0]).decode()
        except UnicodeDecodeError:
            raise BitstreamError("a name is not text") from None

    def left(self) -> int:
        """Bytes that were not taken."""
        return len(self._data) - self._at
