"""One level of the orthonormal Haar transform, two dimensional."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def haar(x: Tensor) -> Tensor:
    """The four bands of every channel of ``x``, as channels: all LL, all cH, all cV, all cD.

    Of a cell a b / c d: LL = (a + b + c + d) / 2, cH = (a + b - c - d) / 2,
    cV = (a - b + c - d) / 2, cD = (a - b - c + d) / 2, in PyWavelets' names. Energy is kept.
    Height and width are even.
    """
    a, b, c, d = F.pixel_unshuffle(x, 2).unflatten(1, (-1, 4)).unbind(2)  # (B, C, H/2, W/2) each
    top, bottom, left, right = a + b, c + d, a - b, c - d
    bands = torch.cat([top + bottom, top - bottom, left + right, left - right], dim=1)
    return bands / 2  # (B, 4 C, H/2, W/2)


def mean_of_cells(x: Tensor) -> Tensor:
    """The mean of every 2 x 2 cell: half of the LL band."""
    return F.avg_pool2d(x, 2)  # (B, C, H/2, W/2)
