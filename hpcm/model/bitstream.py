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

import torch
from torch import Tensor

from hpcm.model.code_tables import TOTAL, CodeTables
from hpcm.schema import ConfigError

WORD = 4  # bytes
LEAST_STREAM = 2 * WORD  # a flushed coder state
LARGEST_SYMBOL = 2**30  # the escape code of the coder holds 32 bits, sign included


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


def check_length(stream: bytes, least_bits: float, what: str) -> None:
    """Refuse a stream shorter than its symbols can be. Raises BitstreamError.

    The coder's state grows by a symbol's information at least, less 2^-15 of it (its integer
    division), starts 32 bits below what a flush writes, and so ends longer than this.
    """
    if 8 * len(stream) < least_bits * (1 - 1e-4):
        raise BitstreamError(
            f"{len(stream)} bytes of {what} are too few for an image of this size: it takes "
            f"{least_bits / 8:.0f} or more"
        )


class Decoder:
    """Reads the symbols of one stream, part by part."""

    def __init__(self, stream: bytes, rows: Rows, symbols: int) -> None:
        """``symbols`` is how many the stream holds. Raises BitstreamError for what is no stream."""
        if len(stream) < LEAST_STREAM or len(stream) % WORD:
            raise BitstreamError(f"a stream of {len(stream)} bytes is cut or foreign")
        # A damaged stream makes the coder read on; give it zeros to read instead of foreign memory.
        # Zeros end every escape code, so a symbol takes at most a few words of them.
        self._rows = rows
        self._coder = _rans().RansDecoder()
        self._coder.set_stream(stream + bytes(WORD * (4 * symbols + 4096)))

    def read(self, indexes: Tensor) -> Tensor:
        """The next symbols, one per index, as float32 in the shape and on the device of these."""
        found: list[int] = self._coder.decode_stream(
            indexes.flatten().to("cpu").tolist(),
            *(self._rows.cdfs, self._rows.lengths, self._rows.offsets),
        )
        return torch.tensor(found, dtype=torch.float32, device=indexes.device).view(indexes.shape)


@cache
def _rans() -> Any:
    """The compiled module ``compressai.ans``. Raises ConfigError where it is not installed."""
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
