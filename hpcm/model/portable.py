"""Streams that another machine can decode: rounding there must not choose another code table.

Encoder and decoder find an element's code table from its computed scale. Another thread count,
device or library rounds differently, and if a scale is close to the border between two tables,
both sides may choose differently, which ruins everything after. So the encoder lists the elements
within `MARGIN` of a border; for these both sides take the upper table of the *nearest* border,
which a small difference cannot change. Others are further from a border than machines differ.

The list is sent as gaps in coding order, in Rice code. Means need no care: they shift the decoded
values by as much as machines differ, and nothing is rounded after.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hpcm.model.bitstream import BitstreamError
from hpcm.model.code_tables import scale_indexes

# Relative distance to a border. The largest difference of a scale seen over 1 against 2 threads,
# oneDNN on against off and float32 against float64 (hpcm_base, formula weights) is 4.5e-5.
MARGIN = 2e-4
_COUNT_BYTES = 4


def ambiguous(scales: Tensor, table: Tensor) -> Tensor:
    """Which scales are within `MARGIN` of a border between two rows."""
    return ((scales / _nearest(scales, table)[1]) - 1).abs() < MARGIN


def settled_indexes(scales: Tensor, table: Tensor, listed: Tensor) -> Tensor:
    """The row of each scale, that above the nearest border if ``listed``."""
    return torch.where(listed, _nearest(scales, table)[0] + 1, scale_indexes(scales, table))


def _nearest(scales: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
    """Number and value of the border nearest in ratio."""
    borders = table[:-1].to(scales.dtype)
    above = scale_indexes(scales, table).clamp(max=len(borders) - 1)
    below = (above - 1).clamp(min=0)
    nearer_below = scales * scales < borders[below] * borders[above]
    number = torch.where(nearer_below, below, above)
    return number, borders[number]


def write_positions(positions: NDArray[np.intp], total: int) -> bytes:
    """Ascending positions below ``total``: their count, then the gaps in Rice code."""
    head = len(positions).to_bytes(_COUNT_BYTES, "little")
    if len(positions) == 0:
        return head
    gaps = np.diff(positions.astype(np.int64), prepend=-1) - 1
    shift = _rice_parameter(len(positions), total)
    quotients, rest = gaps >> shift, gaps & ((1 << shift) - 1)
    lengths = quotients + 1 + shift
    ends = np.cumsum(lengths)
    bits = np.ones(ends[-1], np.uint8)  # the quotient in ones, a zero, the rest from its top bit
    bits[ends - shift - 1] = 0
    for place in range(shift):
        bits[ends - 1 - place] = rest >> place & 1
    return head + np.packbits(bits).tobytes()


def read_positions(data: bytes, total: int) -> NDArray[np.intp]:
    """The inverse of `write_positions`. Raises BitstreamError for what is no such list.

    Time and memory are bounded by ``total``: a list that is longer than one of so many positions
    below it can be is refused before it is read.
    """
    count = int.from_bytes(data[:_COUNT_BYTES], "little")
    if len(data) < _COUNT_BYTES or count > min(total, 8 * len(data)):
        raise BitstreamError("the list of corrections is damaged")
    shift = _rice_parameter(count, total)
    most = count * (1 + shift) + (total >> shift)  # bits: the quotients' ones add up to less
    if 8 * (len(data) - _COUNT_BYTES) > most + 7:
        raise BitstreamError("the list of corrections is longer than its count can need")
    bits = np.unpackbits(np.frombuffer(data, np.uint8, offset=_COUNT_BYTES)).tobytes()
    positions = np.empty(count, np.int64)
    place, at = 0, -1
    for index in range(count):
        stop = bits.find(0, place)
        gap = stop - place
        place = stop + 1
        if stop < 0 or place + shift > len(bits):
            raise BitstreamError("the list of corrections is cut")
        for bit in bits[place : place + shift]:
            gap = gap << 1 | bit
        place += shift
        at += gap + 1
        positions[index] = at
    if at >= total:
        raise BitstreamError("the list of corrections leaves the image")
    if len(bits) - place > 7 or any(bits[place:]):
        raise BitstreamError("bytes follow the list of corrections")
    return positions


def _rice_parameter(count: int, total: int) -> int:
    """The number of low bits of a gap sent as they are: log2 of the mean gap, less 0.5."""
    return max(0, int(np.log2(max(1.0, total / max(1, count)) * 0.7)))
