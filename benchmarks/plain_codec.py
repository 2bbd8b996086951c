"""A straightforward codec beside ours: the published way, with the same networks and bytes.

Masks of the whole latent are built anew for every image, elements picked by `masked_select` and put
back by `masked_scatter`, table indexes counted by one comparison per scale, symbols and tables kept
as Python lists. The masks are those of `tests.reference.partition`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hpcm.model.bitstream import _rans
from hpcm.model.coding_order import CODING_ORDER, CodingStep
from hpcm.model.hpcm import HPCM
from tests.reference import partition

# (step, its mask (1, M, h, w), scales and means (1, M, h, w)) -> decoded values at the mask, else 0
Code = Callable[[CodingStep, Tensor, Tensor, Tensor], Tensor]


@torch.no_grad()
def plain_encode(model: HPCM, x: Tensor) -> tuple[bytes, bytes]:
    """The streams of y and z of one image (1, 3, H, W)."""
    y = model.g_a(x)
    z = torch.round(model.h_a(y) - model.means_hyper)
    symbols: list[int] = []
    indexes: list[int] = []
    s2 = _select(y, partition.s2_mask(*y.shape[2:]), 1)
    s1 = _select(s2, partition.s1_mask(*s2.shape[2:]), 1)
    grids = {1: s1, 2: s2, 3: y}

    def code(step: CodingStep, mask: Tensor, scales: Tensor, means: Tensor) -> Tensor:
        quantized = torch.round((grids[step.scale] - means * mask) * mask)
        symbols.extend(_together(quantized, step).int().flatten().tolist())
        indexes.extend(_indexes(model, _together(scales * mask, step)))
        return quantized + means * mask

    _walk(model, model.h_s(z + model.means_hyper), code)
    z_symbols = z.int().flatten().tolist()
    return (
        _coded(symbols, indexes, *_tables(model, "y")),
        _coded(z_symbols, _channels(z.shape), *_tables(model, "z")),
    )


@torch.no_grad()
def plain_decode(model: HPCM, y: bytes, z: bytes, shape: tuple[int, int]) -> Tensor:
    """The image (1, 3, H, W), clamped; ``shape`` is that of z."""
    size = (1, model.spec.hyper, *shape)
    z_symbols = _decoder(z).decode_stream(_channels(size), *_tables(model, "z"))
    z_hat = torch.tensor(z_symbols, dtype=torch.float32).view(size) + model.means_hyper
    decoder, tables = _decoder(y), _tables(model, "y")

    def code(step: CodingStep, mask: Tensor, scales: Tensor, means: Tensor) -> Tensor:
        packed = _together(scales * mask, step)
        found = decoder.decode_stream(_indexes(model, packed), *tables)
        values = torch.tensor(found, dtype=torch.float32).view(packed.shape)
        return (values.repeat(1, step.chunks, 1, 1) + means) * mask

    return model.g_s(_walk(model, model.h_s(z_hat), code)).clamp(0, 1)


def _walk(model: HPCM, hyper: Tensor, code: Code) -> Tensor:
    """y_hat (1, M, H, W) from the hyper tensor (1, 2M, H, W)."""
    whole = partition.s2_mask(*hyper.shape[2:])
    hyper_2 = _select(hyper, whole, 2)
    inner = partition.s1_mask(*hyper_2.shape[2:])
    hypers = {2: _misplaced(hyper_2, inner), 3: hyper * ~_wide(whole, hyper, 2)}
    steps = {3: partition.step_of_element(*hyper.shape[2:])}  # (8, h, w) each
    steps[2] = partition.pack(steps[3], whole)
    steps[1] = partition.pack(steps[2], inner)
    context = _select(hyper_2, inner, 2)
    y_hat = torch.zeros_like(context.chunk(2, 1)[0])
    for step in CODING_ORDER:
        if step.number in (3, 6):  # to the next grid
            mask = inner if step.scale == 2 else whole
            y_hat = _put(y_hat, mask, 1)
            context = _put(context, mask, 2) + hypers[step.scale]
            context = model.context_net[step.scale - 2](context)
        scales, means, context = _predict(model, step, context, y_hat)
        mask = _wide(steps[step.scale] == step.number, y_hat, 1)
        y_hat = y_hat + code(step, mask, scales, means)
    return y_hat


def _predict(
    model: HPCM, step: CodingStep, context: Tensor, y_hat: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    if step.adaptor is None:
        return *context.chunk(2, 1), context
    adaptor = getattr(model, f"y_spatial_prior_adaptor_list_s{step.scale}")[step.adaptor]
    joined = adaptor(torch.cat((context, y_hat), 1))
    psi = getattr(model, step.prior)(joined, model.adaptive_params_list[step.gain])
    attends = model.spec.windows and step.number < len(CODING_ORDER)
    after = getattr(model, f"attn_s{step.scale}")(psi, context) if attends else psi
    return *psi.chunk(2, 1), after


def _wide(mask: np.ndarray, like: Tensor, parts: int) -> Tensor:
    """A mask (8, h, w) for all channels of ``like`` (1, parts * M, h, w)."""
    repeated = np.repeat(mask, like.shape[1] // parts // 8, axis=0)
    return torch.from_numpy(np.tile(repeated, (parts, 1, 1)))[None]


def _select(x: Tensor, mask: np.ndarray, parts: int) -> Tensor:
    """One element of each 2x2 cell."""
    *lead, height, width = x.shape
    return torch.masked_select(x, _wide(mask, x, parts)).view(*lead, height // 2, width // 2)


def _put(x: Tensor, mask: np.ndarray, parts: int) -> Tensor:
    """The inverse of `_select`, 0 elsewhere."""
    *lead, height, width = x.shape
    zeros = x.new_zeros(*lead, 2 * height, 2 * width)
    return zeros.masked_scatter(_wide(mask, zeros, parts), x)


def _misplaced(hyper: Tensor, inner: np.ndarray) -> Tensor:
    """The hyper tensor of s2 as published: picked at one mask, put back at another."""
    source = np.ones_like(inner)
    source[:4, 0::2, 0::2] = False
    source[4:, 0::2, 1::2] = False
    picked = torch.masked_select(hyper, _wide(source, hyper, 2))
    return torch.zeros_like(hyper).masked_scatter(_wide(~inner, hyper, 2), picked)


def _together(x: Tensor, step: CodingStep) -> Tensor:
    """The chunks' disjoint elements in one tensor: (1, M, h, w) -> (1, M / chunks, h, w)."""
    return torch.stack(x.chunk(step.chunks, 1)).sum(0)


def _indexes(model: HPCM, scales: Tensor) -> list[int]:
    indexes = torch.zeros_like(scales, dtype=torch.int32)
    for border in model.scale_table[:-1]:
        indexes += (scales > border).int()
    found: list[int] = indexes.flatten().tolist()
    return found


def _channels(shape: tuple[int, ...]) -> list[int]:
    return [channel for channel in range(shape[1]) for _ in range(shape[2] * shape[3])]


def _tables(model: HPCM, name: str) -> tuple[list[list[int]], list[int], list[int]]:
    parts = ("quantized_cdf", "cdf_length", "offset")
    cdfs, lengths, offsets = (getattr(model, f"{part}_{name}").tolist() for part in parts)
    return cdfs, lengths, offsets


def _coded(
    symbols: list[int],
    indexes: list[int],
    cdfs: list[list[int]],
    lengths: list[int],
    offsets: list[int],
) -> bytes:
    coder = _rans().BufferedRansEncoder()
    coder.encode_with_indexes(symbols, indexes, cdfs, lengths, offsets)
    stream: bytes = coder.flush()
    return stream


def _decoder(stream: bytes) -> Any:
    decoder = _rans().RansDecoder()
    decoder.set_stream(stream)
    return decoder
