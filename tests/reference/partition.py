"""HPCM's partition by its definition, with boolean masks and row-major packing: slow and obvious.

Everything is per eighth of the channels: masks and maps are (8, H, W) on the latent's grid.
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray

S2_CORNERS = [(0, 0), (1, 1), (0, 1), (1, 0)] * 2  # of a 2x2 cell of the latent, per eighth
S1_CORNERS = [(0, 0), (0, 1), (1, 0), (1, 1)]  # of a 2x2 cell of the s2 grid, per quarter
PATTERNS = [
    {(0, 0), (2, 2)},
    {(0, 2), (2, 0)},
    {(1, 1), (3, 3)},
    {(1, 3), (3, 1)},
    {(0, 1), (2, 3)},
    {(0, 3), (2, 1)},
    {(1, 0), (3, 2)},
    {(1, 2), (3, 0)},
]
S1_STEPS = {1: ("main", "anti"), 2: ("anti", "main")}  # per half
S2_STEPS = {  # per quarter
    3: [(1, 1), (1, 0), (0, 1), (0, 0)],
    4: [(1, 0), (1, 1), (0, 0), (0, 1)],
    5: [(0, 1), (0, 0), (1, 1), (1, 0)],
}
S3_STEPS = {  # per eighth, the pattern's number
    6: [2, 4, 6, 0, 3, 5, 7, 1],
    7: [3, 5, 7, 1, 2, 4, 6, 0],
    8: [4, 6, 0, 2, 5, 7, 1, 3],
    9: [5, 7, 1, 3, 4, 6, 0, 2],
    10: [6, 0, 2, 4, 7, 1, 3, 5],
    11: [7, 1, 3, 5, 6, 0, 2, 4],
}


def s2_mask(height: int, width: int) -> Array:
    """Which elements of the latent are s2 elements: (8, H, W), bool."""
    mask = np.zeros((8, height, width), bool)
    for eighth, (row, column) in enumerate(S2_CORNERS):
        mask[eighth, row::2, column::2] = True
    return mask


def s1_mask(height: int, width: int) -> Array:
    """Which elements of the s2 grid (height x width) are s1 elements: (8, height, width), bool."""
    mask = np.zeros((8, height, width), bool)
    for eighth in range(8):
        row, column = S1_CORNERS[eighth // 2]
        mask[eighth, row::2, column::2] = True
    return mask


def pack(values: Array, mask: Array) -> Array:
    """Per eighth, the values at the mask, in row-major order, as a grid of half the sides."""
    height, width = mask.shape[1] // 2, mask.shape[2] // 2
    return np.stack([v[m].reshape(height, width) for v, m in zip(values, mask, strict=True)])


def step_of_element(height: int, width: int) -> Array:
    """The coding step, 1..11, of every element: (8, H, W)."""
    s3 = np.zeros((8, height, width), int)
    for step, patterns in S3_STEPS.items():
        for eighth, pattern in enumerate(patterns):
            for row, column in PATTERNS[pattern]:
                s3[eighth, row::4, column::4] = step
    s2 = np.zeros((8, height // 2, width // 2), int)
    for step, corners in S2_STEPS.items():
        for eighth in range(8):
            row, column = corners[eighth // 2]
            s2[eighth, row::2, column::2] = step
    row, column = np.indices((height // 4, width // 4))
    on_main = (row + column) % 2 == 0
    s1 = np.zeros((8, height // 4, width // 4), int)
    for step, halves in S1_STEPS.items():
        for eighth in range(8):
            s1[eighth, on_main if halves[eighth // 4] == "main" else ~on_main] = step
    for eighth in range(8):
        s2[eighth, s1_mask(height // 2, width // 2)[eighth]] = s1[eighth].ravel()
        s3[eighth, s2_mask(height, width)[eighth]] = s2[eighth].ravel()
    return s3


def hyper_s2(g: Array) -> Array:
    """The misplaced s2 hyper tensor: values packed from one mask, unpacked into another.

    ``g`` (8, height, width) holds the s2 elements. The source's hole in each 2x2 cell is (0, 0) for
    eighths 0-3 and (0, 1) for 4-7; the destination's hole is the s1 place.
    """
    out = np.zeros_like(g)
    _, height, width = g.shape
    kept = ~s1_mask(height, width)
    for eighth in range(8):
        source = np.ones((height, width), bool)
        source[0::2, (0 if eighth < 4 else 1) :: 2] = False
        out[eighth, kept[eighth]] = g[eighth, source]
    return out
