"""Real bitstreams of a model: the same walk over the coding steps, with a coder at each step.

Shapes as in `hpcm.model.hpcm`. z is one stream, table = channel; y is one stream of the eleven
steps in order, each a tensor (M / chunks, h, w), table by scale. Images are coded one by one: a
network's rounding may depend on the batch, and both sides must compute the same scales.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from hpcm.model.bitstream import BitstreamError, Decoder, Rows, encode
from hpcm.model.code_tables import CodeTables, scale_indexes
from hpcm.model.coding_order import CodingStep

if TYPE_CHECKING:
    from hpcm.model.hpcm import HPCM


@dataclass
class SymbolCheck:
    """A checksum over symbols as they are coded or decoded: unequal means a wrong image."""

    crc: int = 0

    def add(self, symbols: Tensor) -> None:
        """Symbols in coding order."""
        values = symbols.detach().to("cpu", torch.float32).numpy().astype(np.int64)
        self.crc = zlib.crc32(values.astype("<i4").tobytes(), self.crc)


@dataclass
class CodedImage:
    """The streams of one image."""

    y: bytes
    z: bytes
    shape: tuple[int, int]  # of z
    symbol_crc: int | None = None  # over the symbols of z, then y


@dataclass
class _Parts:
    """What the steps of one image code, in order."""

    symbols: list[Tensor] = field(default_factory=list)
    indexes: list[Tensor] = field(default_factory=list)


def encode_image(model: HPCM, x: Tensor) -> CodedImage:
    """Code one image (1, 3, H, W) whose sides are multiples of the stride."""
    rows_y, rows_z = code_rows(model)
    with exact_arithmetic(x.device):
        y, z = model.analyse(x)
        z_symbols = torch.round(z - model.means_hyper)
        z_hat = z_symbols + model.means_hyper
        grids = model.grids(y)
        parts = _Parts()

        def decide(step: CodingStep, mask: Tensor, psi: Tensor) -> Tensor:
            scales, means = psi[:, :1], psi[:, 1:]
            symbols = torch.round(grids[step.scale] - means)
            parts.symbols.append(pack(symbols, mask, step))
            parts.indexes.append(scale_indexes(pack(scales, mask, step), model.scale_table))
            return symbols + means

        model.walk(model.hyper_params(z_hat), decide)
        y_symbols = torch.cat([part.flatten() for part in parts.symbols])
        y_indexes = torch.cat([part.flatten() for part in parts.indexes])
    check = SymbolCheck()
    check.add(z_symbols.flatten())
    check.add(y_symbols)
    return CodedImage(
        y=encode(y_symbols, y_indexes, rows_y),
        z=encode(z_symbols, channel_indexes(z_symbols), rows_z),
        shape=(z.shape[-2], z.shape[-1]),
        symbol_crc=check.crc,
    )


def decode_image(model: HPCM, coded: CodedImage) -> Tensor:
    """The image (1, 3, H, W), clamped to [0, 1].

    Raises BitstreamError where a stream is damaged or the symbols are not those of the checksum:
    a stream of another model, or arithmetic that differs from the encoder's.
    """
    rows_y, rows_z = code_rows(model)
    device = model.means_hyper.device
    height, width = coded.shape
    z_shape = (1, model.spec.hyper, height, width)
    elements = model.spec.latent * 16 * height * width
    found = SymbolCheck()
    with exact_arithmetic(device):
        z_indexes = channel_indexes(torch.empty(z_shape, device=device))
        z_symbols = Decoder(coded.z, rows_z, z_indexes.numel()).read(z_indexes)
        found.add(z_symbols.flatten())
        decoder = Decoder(coded.y, rows_y, elements)

        def decide(step: CodingStep, mask: Tensor, psi: Tensor) -> Tensor:
            scales, means = psi[:, :1], psi[:, 1:]
            indexes = scale_indexes(pack(scales, mask, step), model.scale_table)
            symbols = decoder.read(indexes).to(means.dtype)
            found.add(symbols.flatten())
            return unpack(symbols, step) + means

        z_hat = z_symbols.to(model.means_hyper.dtype) + model.means_hyper
        walked = model.walk(model.hyper_params(z_hat), decide)
        if coded.symbol_crc not in (None, found.crc):
            raise BitstreamError("the decoded symbols are not those that were coded")
        return model.g_s(walked.latents["s3"]).clamp(0, 1)


@contextmanager
def exact_arithmetic(device: torch.device) -> Iterator[None]:
    """Inside: no gradients, no autocast, no TF32, and one choice of cuDNN kernel."""
    precision = torch.get_float32_matmul_precision()
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.autocast(device.type, enabled=False))
        stack.callback(torch.set_float32_matmul_precision, precision)
        torch.set_float32_matmul_precision("highest")
        if device.type == "cuda":
            flags = torch.backends.cudnn.flags(
                enabled=True, benchmark=False, deterministic=True, allow_tf32=False
            )
            stack.enter_context(flags)
        yield


def code_rows(model: HPCM) -> tuple[Rows, Rows]:
    """The tables of y and of z. Raises ValueError before `HPCM.update`."""
    if model.cdf_length_y.numel() == 0:
        raise ValueError("the model has no code tables; call update() first")
    y = CodeTables(model.quantized_cdf_y, model.cdf_length_y, model.offset_y)
    z = CodeTables(model.quantized_cdf_z, model.cdf_length_z, model.offset_z)
    return Rows(y), Rows(z)


def channel_indexes(z: Tensor) -> Tensor:
    """The table of each hyper-latent element is its channel: (B, N, h, w)."""
    return torch.arange(z.shape[1], device=z.device)[None, :, None, None].expand_as(z)


def pack(x: Tensor, mask: Tensor, step: CodingStep) -> Tensor:
    """A step's elements as one tensor: (1, 1, 8, m, h, w) -> (M / chunks, h, w).

    The chunks' masks are disjoint and cover the grid, so the sum is a choice.
    """
    chosen = torch.where(mask, x, 0).flatten(0, 3)  # (M, h, w)
    return chosen.unflatten(0, (step.chunks, -1)).sum(0)


def unpack(x: Tensor, step: CodingStep) -> Tensor:
    """Repeat a step's tensor over the chunks: (M / chunks, h, w) -> (1, 1, 8, m, h, w)."""
    every = x.expand(step.chunks, *x.shape).flatten(0, 1)
    return every.unflatten(0, (1, 1, 8, -1))
