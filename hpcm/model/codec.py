"""Real bitstreams of a model: the same walk over the coding steps, with a coder at each step.

Shapes as in `hpcm.model.hpcm`. z is one stream, table = channel; y is one stream of the eleven
steps in order, each a tensor (M / chunks, h, w), table by scale. Images are coded one by one: a
network's rounding may depend on the batch, and both sides must compute the same scales.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hpcm.model.bitstream import BitstreamError, Decoder, Rows, encode
from hpcm.model.code_tables import CodeTables, scale_indexes
from hpcm.model.coding_order import CodingStep
from hpcm.model.portable import ambiguous, read_positions, settled_indexes, write_positions

if TYPE_CHECKING:
    from hpcm.model.hpcm import HPCM


class SymbolCheck:
    """A checksum over symbols as they are coded or decoded: unequal means a wrong image."""

    def __init__(self) -> None:
        self.crc = 0

    def add(self, symbols: Tensor) -> None:
        """Symbols in coding order."""
        values = symbols.detach().flatten().to("cpu", torch.int64).numpy()
        self.crc = zlib.crc32(values.astype("<i8").tobytes(), self.crc)


@dataclass(frozen=True)
class CodedImage:
    """The streams of one image."""

    y: bytes
    z: bytes
    shape: tuple[int, int]  # of z
    symbol_crc: int | None = None  # over the symbols of z, then y; None: nothing to check with
    corrections: bytes | None = None  # of a portable stream, see `hpcm.model.portable`


def encode_image(model: HPCM, x: Tensor, portable: bool = False) -> CodedImage:
    """Code one image (1, 3, H, W) whose sides are multiples of the stride."""
    model.update()
    rows_y, rows_z = code_rows(model)
    symbols: list[Tensor] = []  # of y, per step
    indexes: list[Tensor] = []
    listed: list[Tensor] = []  # elements whose table another machine could miss
    with exact_arithmetic(x.device):
        y, z = model.analyse(x)
        z_symbols = torch.round(z - model.means_hyper)
        grids = model.grids(y)

        def decide(step: CodingStep, mask: Tensor, psi: Tensor) -> Tensor:
            scales, means = pack(psi[:, :1], mask, step), psi[:, 1:]
            rounded = torch.round(grids[step.scale] - means)
            symbols.append(pack(rounded, mask, step).flatten())
            close = ambiguous(scales, model.scale_table) if portable else None
            indexes.append(_indexes(scales, model.scale_table, close).flatten())
            if close is not None:
                listed.append(close.flatten())
            return rounded + means

        model.walk(model.hyper_params(z_symbols + model.means_hyper), decide)
    y_symbols = torch.cat(symbols)
    check = SymbolCheck()
    check.add(z_symbols)
    check.add(y_symbols)
    return CodedImage(
        y=encode(y_symbols, torch.cat(indexes), rows_y),
        z=encode(z_symbols, channel_indexes(z_symbols), rows_z),
        shape=(z.shape[-2], z.shape[-1]),
        symbol_crc=check.crc,
        corrections=_write_corrections(torch.cat(listed)) if portable else None,
    )


def decode_image(model: HPCM, coded: CodedImage) -> Tensor:
    """The image (1, 3, H, W), clamped to [0, 1].

    Raises BitstreamError if a stream is damaged or the symbols are not those of the checksum:
    a stream of another model, or arithmetic that differs from the encoder's.
    """
    model.update()
    rows_y, rows_z = code_rows(model)
    places = coded.shape[0] * coded.shape[1]
    hyper, elements = model.spec.hyper * places, model.spec.latent * 16 * places
    decoder_z = Decoder(coded.z, rows_z, hyper, sum(rows_z.least_bits) * places, "z")
    decoder = Decoder(coded.y, rows_y, elements, min(rows_y.least_bits) * elements, "y")
    check = SymbolCheck()
    with exact_arithmetic(model.means_hyper.device):
        z_symbols = _decode_z(model, coded, rows_z, decoder_z)
        check.add(z_symbols)
        corrections = _Corrections(coded.corrections, elements, z_symbols.device)

        def decide(step: CodingStep, mask: Tensor, psi: Tensor) -> Tensor:
            scales, means = pack(psi[:, :1], mask, step), psi[:, 1:]
            close = corrections.read(scales.shape)
            found = decoder.read(_indexes(scales, model.scale_table, close))
            check.add(found)
            return unpack(found.to(means.dtype), step) + means

        walked = model.walk(model.hyper_params(z_symbols + model.means_hyper), decide)
        if coded.symbol_crc not in (None, check.crc):
            raise BitstreamError(
                "the decoded symbols are not those that were coded: other weights, or arithmetic "
                "that rounds differently"
            )
        x_hat: Tensor = model.g_s(walked.latents["s3"])
        return x_hat.clamp(0, 1)


def _decode_z(model: HPCM, coded: CodedImage, rows: Rows, decoder: Decoder) -> Tensor:
    """The symbols of z: (1, N, h, w). Raises BitstreamError if they do not end with the stream.

    They need no network, so a stream of other symbols, or of another number of them, is found
    before anything slow begins: coded again, they must give the same bytes.
    """
    means = model.means_hyper
    indexes = channel_indexes(means.expand(1, -1, *coded.shape))
    symbols = decoder.read(indexes)
    if encode(symbols, indexes, rows) != coded.z:
        raise BitstreamError("the stream of z is damaged, or of an image of another size")
    return symbols.to(means.dtype)


def _indexes(scales: Tensor, table: Tensor, listed: Tensor | None) -> Tensor:
    if listed is None:
        return scale_indexes(scales, table)
    return settled_indexes(scales, table, listed)


def _write_corrections(listed: Tensor) -> bytes:
    return write_positions(listed.cpu().numpy().nonzero()[0], listed.numel())


class _Corrections:
    """The listed elements of a portable stream, step by step; None for others."""

    def __init__(self, data: bytes | None, elements: int, device: torch.device) -> None:
        self._listed: Tensor | None = None
        self._read = 0
        if data is not None:
            listed = torch.zeros(elements, dtype=torch.bool)
            listed[torch.from_numpy(read_positions(data, elements))] = True
            self._listed = listed.to(device)

    def read(self, shape: torch.Size) -> Tensor | None:
        """Which of the next elements are listed."""
        if self._listed is None:
            return None
        start = self._read
        self._read += shape.numel()
        return self._listed[start : self._read].view(shape)


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
    packed: Tensor = chosen.unflatten(0, (step.chunks, -1)).sum(0)
    return packed


def unpack(x: Tensor, step: CodingStep) -> Tensor:
    """Repeat a step's tensor over the chunks: (M / chunks, h, w) -> (1, 1, 8, m, h, w)."""
    every = x.expand(step.chunks, *x.shape).flatten(0, 1)
    grid: Tensor = every.unflatten(0, (1, 1, 8, -1))
    return grid
