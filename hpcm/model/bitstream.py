"""The entropy coder: 64-bit rANS with 32-bit words, CompressAI's, imported when something is coded.

Only the compiled coder is loaded. ``import compressai`` would bring torchvision and take seconds.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import math
import sys
from functools import cache, cached_property
from itertools import pairwise
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hpcm.model.code_tables import PRECISION, TOTAL, CodeTables
from hpcm.schema import ConfigError

WORD = 4  # bytes
LEAST_STREAM = 2 * WORD  # a flushed coder state
STATES = range(2**31, 2**63)  # of the coder between two symbols
NIBBLE = 4  # bits of a digit of an escape code, the coder's way to code what is not in a table
# Escape codes: digits of the length, then as many digits of twice the distance from the table.
# With more than seven of these the compiled encoder never returns.
LARGEST_SYMBOL = 2**26
MOST_BITS = PRECISION + (1 + 7) * NIBBLE  # that a symbol takes: the escape and its code
PART = 2**18  # symbols between two looks at what a stream holds


class BitstreamError(ValueError):
    """A stream that cannot be what it is said to be."""


class Rows:
    """Code tables as the coder wants them: lists, without the padding."""

    def __init__(self, tables: CodeTables) -> None:
        self.lengths: list[int] = tables.cdf_length.tolist()
        self.offsets: list[int] = tables.offset.tolist()
        padded = tables.quantized_cdf.tolist()
        self.cdfs = [row[:n] for row, n in zip(padded, self.lengths, strict=True)]

    @cached_property
    def least_bits(self) -> list[float]:
        """What a row's likeliest symbol costs: no symbol of it can take less."""
        return [math.log2(TOTAL / max(b - a for a, b in pairwise(row))) for row in self.cdfs]

    @cached_property
    def escape_bits(self) -> tuple[float, int]:
        """What an escape takes at least, and at most from an endless stream of zeros.

        Digits of 15 let a length go on, and the words that follow have none: all are in the state
        that the escape leaves, below 2^47 times its count, and a word follows at 2^31. A length of
        n such digits is 15 n at most.
        """
        likeliest = math.log2(max(row[-1] - row[-2] for row in self.cdfs))
        digits = math.ceil((PRECISION + likeliest) / NIBBLE)
        most = PRECISION + 1 + NIBBLE * (digits + 1 + 15 * digits)
        return PRECISION - likeliest + NIBBLE, most

    def escapes(self, symbols: Tensor, indexes: Tensor) -> int:
        """How many symbols (n,) are not in their tables; int64, on the CPU.

        What wraps around 32 bits to a symbol of the table is not counted. That takes eight digits
        that are not all zeros, so it never comes from zeros behind a stream.
        """
        at = symbols - torch.tensor(self.offsets)[indexes]
        return int(((at < 0) | (at >= torch.tensor(self.lengths)[indexes] - 2)).sum())


def encode(symbols: Tensor, indexes: Tensor, rows: Rows) -> bytes:
    """One stream of all symbols, in order; ``indexes`` choose the row of each.

    Raises BitstreamError for symbols that are not finite or too large to code.
    """
    flat = symbols.detach().flatten()
    if flat.numel() == 0 or not bool((flat.abs() < LARGEST_SYMBOL).all()):
        raise BitstreamError("the latent holds values that are not finite or too large to be coded")
    coder = _rans().BufferedRansEncoder()
    coder.encode_with_indexes(
        flat.to("cpu", torch.int64).tolist(),
        indexes.flatten().to("cpu").tolist(),
        *(rows.cdfs, rows.lengths, rows.offsets),
    )
    stream: bytes = coder.flush()
    return stream


class Decoder:
    """Reads the symbols of one stream, part by part."""

    def __init__(
        self, stream: bytes, rows: Rows, symbols: int, least_bits: float = 0, what: str = "a stream"
    ) -> None:
        """``symbols`` is how many the stream holds, ``least_bits`` what they take at least.

        Raises BitstreamError for what is no stream of them.
        """
        check_stream(stream, symbols, least_bits, what)
        self._stream, self._rows, self._symbols, self._what = stream, rows, symbols, what
        self._escapes = 0
        self._most_escapes = int(8 * len(stream) * (1 + 1e-4) / rows.escape_bits[0])

    @cached_property
    def _coder(self) -> Any:
        """The compiled decoder, which does not know where a stream ends."""
        coder = _rans().RansDecoder()
        coder.set_stream(self._stream + self._pad())
        return coder

    def _pad(self) -> bytes:
        """Zeros for the worst that the symbols of a damaged stream can take behind it.

        The last one that begins in the stream: the digits of its length are 15 each in words that
        are all ones, in the state before these and in the word after. Others, zeros only: an escape
        takes the most, but `read` stops at more of them than the stream has bits for.
        """
        ones = np.count_nonzero(np.frombuffer(self._stream, "<u4") == 2**32 - 1)
        digits = 8 * (ones + 2)
        bits = PRECISION + NIBBLE * (digits + 1 + 15 * (digits + 1))
        bits += self._symbols * (PRECISION + 1)
        bits += min(self._symbols, self._most_escapes + PART) * self._rows.escape_bits[1]
        return bytes(WORD * (bits // (8 * WORD) + 2))

    def read(self, indexes: Tensor) -> Tensor:
        """The next symbols, one per index, as float32 in the shape and on the device of these.

        Raises BitstreamError for symbols that the stream has not enough bits for.
        """
        parts = [self._next(part) for part in indexes.flatten().to("cpu").split(PART)]
        return torch.cat(parts).to(indexes.device, torch.float32).view(indexes.shape)

    def _next(self, indexes: Tensor) -> Tensor:
        rows = self._rows
        found = torch.tensor(
            self._coder.decode_stream(indexes.tolist(), rows.cdfs, rows.lengths, rows.offsets),
            dtype=torch.int64,
        )
        self._escapes += rows.escapes(found, indexes)
        if self._escapes > self._most_escapes:
            raise BitstreamError(
                f"{self._what} is damaged: more symbols outside their tables than it has bits for"
            )
        return found


def check_stream(stream: bytes, symbols: int, least_bits: float, what: str) -> None:
    """Refuse what no encoder writes for so many symbols. Raises BitstreamError.

    The coder's state grows by a symbol's information at least, less 2^-15 of it (its integer
    division), starts 32 bits below what a flush writes, and so ends longer than ``least_bits``.
    """
    size = len(stream)
    if size < LEAST_STREAM or size % WORD:
        raise BitstreamError(f"{size} bytes of {what} are cut or foreign")
    if int.from_bytes(stream[:LEAST_STREAM], "little") not in STATES:
        raise BitstreamError(f"{what} does not begin like a stream of symbols")
    if 8 * size < least_bits * (1 - 1e-4):
        raise BitstreamError(
            f"{size} bytes of {what} are too few for an image of this size: it takes "
            f"{least_bits / 8:.0f} or more"
        )
    most = LEAST_STREAM + math.ceil(symbols * MOST_BITS * (1 + 1e-4) / 8)
    if size > most:
        raise BitstreamError(
            f"{size} bytes of {what} are too many for an image of this size: it takes {most} or "
            "less"
        )


@cache
def _rans() -> Any:
    """The compiled module ``compressai.ans``. Raises ConfigError if it is not installed."""
    loaded = sys.modules.get("compressai.ans")
    return loaded if loaded is not None else _load("compressai", "ans")


def _load(package: str, name: str) -> ModuleType:
    """A compiled module of a package, without running the package."""
    found = importlib.util.find_spec(package)
    places = list(found.submodule_search_locations or []) if found else []
    spec = importlib.machinery.PathFinder.find_spec(name, places) if places else None
    if spec is None or spec.origin is None:
        raise ConfigError(
            "coding bitstreams needs the package compressai: pip install 'hpcm-tune[codec]'"
        )
    full = f"{package}.{name}"
    loader = importlib.machinery.ExtensionFileLoader(full, spec.origin)
    full_spec = importlib.util.spec_from_file_location(full, spec.origin, loader=loader)
    assert full_spec is not None
    module = importlib.util.module_from_spec(full_spec)
    sys.modules[full] = module  # a later `import compressai` takes this one
    loader.exec_module(module)
    return module
