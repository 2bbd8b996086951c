"""Code tables: from scales to the 16-bit cumulative counts that the entropy coder reads.

Tables are always built on the CPU in float32, so that every machine rebuilds the same ones.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hpcm.model.entropy import SCALE_BOUND, GeneralizedGaussian

PRECISION = 16  # bits of a cumulative count
TOTAL = 1 << PRECISION
LEVELS = 60  # scales that y is coded with
LARGEST_SCALE = 64.0
# Half-width of a table in scales: minus the quantile of the standard distribution at 5e-7.
HALF_WIDTH = 5.42691097558631


class CodeTables(NamedTuple):
    """Rows of cumulative counts, one per distribution, the last symbol of each the escape."""

    quantized_cdf: Tensor  # (rows, longest), int32, rows padded with 0
    cdf_length: Tensor  # (rows,), int32
    offset: Tensor  # (rows,), int32: the value of a row's first symbol


def default_scale_table() -> Tensor:
    """60 scales from 0.12 to 64, evenly spaced in their logarithm: (60,), float32."""
    ends = math.log(SCALE_BOUND), math.log(LARGEST_SCALE)
    return torch.exp(torch.linspace(*ends, LEVELS, device="cpu"))


def build_tables(scales: Tensor, entropy: GeneralizedGaussian) -> CodeTables:
    """Tables of the centred distributions with these scales (rows,)."""
    scales = scales.detach().to("cpu", torch.float32)
    beta = entropy.beta.to("cpu", torch.float32)
    scales = scales.clamp_min(float(np.float32(SCALE_BOUND)))
    half = torch.ceil(scales * HALF_WIDTH).int()  # (rows,)
    longest = int(2 * half.max() + 1)
    distance = (torch.arange(longest) - half[:, None]).float()  # symbol values (rows, longest)
    cdf = GeneralizedGaussian().float()
    cdf.beta = beta
    upper = cdf.cdf((distance + 0.5) / scales[:, None])
    lower = cdf.cdf((distance - 0.5) / scales[:, None])
    pmf = (upper - lower).numpy()
    # As published, the upper tail is taken at the last column, which only the longest rows reach.
    tail = (lower[:, :1] + 1 - upper[:, -1:]).numpy()
    rows = torch.zeros(len(scales), longest + 2, dtype=torch.int32)
    for row, count in enumerate((2 * half + 1).tolist()):
        counts = cumulative_counts(np.append(pmf[row, :count], tail[row]))
        rows[row, : count + 2] = torch.from_numpy(counts)
    return CodeTables(rows, 2 * half + 3, -half)


def cumulative_counts(pmf: NDArray[np.float64]) -> NDArray[np.int32]:
    """Probabilities to cumulative counts of sum 2^16, none empty: int32, one longer than ``pmf``.

    Counts are rounded half away from zero, rescaled by integer division, and each empty symbol
    takes one count from the smallest that has more than one (the first of these). Raises ValueError
    for what is no distribution.
    """
    if not np.isfinite(pmf).all() or (pmf < 0).any() or not 0 < len(pmf) < TOTAL:
        raise ValueError("probabilities must be finite, not negative, and fewer than 65536")
    counts = np.floor(pmf.astype(np.float64) * TOTAL + 0.5).astype(np.int64)
    if counts.sum() == 0:
        raise ValueError("all probabilities are 0")
    counts = counts * TOTAL // counts.sum()
    counts[-1] += TOTAL - counts.sum()
    for empty in np.flatnonzero(counts == 0):
        rich = np.where(counts > 1, counts, TOTAL + 1)
        counts[rich.argmin()] -= 1
        counts[empty] = 1
    return np.concatenate(([0], counts.cumsum())).astype(np.int32)


def scale_indexes(scales: Tensor, table: Tensor) -> Tensor:
    """The row of each scale: that of the smallest entry not below it, the last if there is none."""
    found = torch.bucketize(scales, table[:-1].to(scales.dtype))
    return torch.where(scales.isnan(), 0, found)
