"""Moves between the grids of s1, s2 and s3, and the masks of the coding steps. Pure functions.

Shapes: B batch; n tensors of M latent channels side by side (scales and means: n = 2), each cut
into 8 equal chunks, "eighths"; H W the latent's grid, H/2 W/2 that of s2, H/4 W/4 that of s1.

Everything is slices, copies and `torch.where` with masks of a small periodic cell: no index
depends on data, so nothing waits for the host, and no cache is kept per image size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hpcm.model.coding_order import CELL, CODING_ORDER, S1_IN_S2, S2_IN_S3, Places, steps_of

EIGHTHS = 8
INNER = {2: S1_IN_S2, 3: S2_IN_S3}  # where the elements of the scale below sit, per eighth
STEP_PERIOD = 8  # the step of an element is periodic in rows and columns of the latent


def split_eighths(x: Tensor, channels: int) -> Tensor:
    """(B, n*M, H, W) -> (B, n, 8, M/8, H, W)."""
    return x.unflatten(1, (-1, EIGHTHS, channels // EIGHTHS))


def join_eighths(x: Tensor) -> Tensor:
    """The inverse of `split_eighths`."""
    return x.flatten(1, 3)


def gather(x: Tensor, places: Places) -> Tensor:
    """One element of each 2x2 cell, per eighth: (B, n, 8, m, H, W) -> (B, n, 8, m, H/2, W/2)."""
    chunks = [x[:, :, k, :, row::2, column::2] for k, (row, column) in enumerate(places)]
    if not channels_inside(x):
        return torch.stack(chunks, dim=2)
    inside = [chunk.permute(0, 3, 4, 1, 2) for chunk in chunks]
    return torch.stack(inside, dim=4).permute(0, 3, 4, 5, 1, 2)


def spread(x: Tensor) -> Tensor:
    """Repeat each element over its 2x2 cell: (..., H, W) -> (..., 2H, 2W)."""
    if channels_inside(x):
        x = x.permute(0, 4, 5, 1, 2, 3)[:, :, None, :, None]
        x = x.expand(-1, -1, 2, -1, 2, -1, -1, -1).flatten(3, 4).flatten(1, 2)
        return x.permute(0, 3, 4, 5, 1, 2)
    cells = x[..., :, None, :, None].expand(*x.shape[:-1], 2, x.shape[-1], 2)
    return cells.flatten(-2).flatten(-3, -2)


def channels_inside(x: Tensor) -> bool:
    """Whether a tensor in eighths lies in memory position by position (channels last)."""
    return x.dim() == 6 and x.stride(3) == 1 and x.stride(5) != 1


def to_s2(x: Tensor) -> Tensor:
    """The s2 elements of a tensor on the latent's grid."""
    return gather(x, S2_IN_S3)


def to_s1(x: Tensor) -> Tensor:
    """The s1 elements of a tensor on the s2 grid."""
    return gather(x, S1_IN_S2)


def hyper_s2(g: Tensor) -> Tensor:
    """The s2 hyper tensor as the published models were trained with it: partly misplaced.

    ``g`` holds the s2 elements (B, n, 8, m, H/2, W/2). The authors' code means to return ``g`` with
    the s1 places set to 0, but packs its values from a mask whose holes are elsewhere (for eighths
    0-3 at (0, 0), for 4-7 at (0, 1)), in row-major order. Eighths 0, 1 come out right, 2, 3 are
    shifted by one column in even rows, and 4-7 are scrambled over each pair of rows.
    """
    *_, height, width = g.shape
    pairs = g.unflatten(-2, (height // 2, 2))  # (B, n, 8, m, H/4, 2, W/2)
    even, odd = pairs[..., 0, :], pairs[..., 1, :]  # (B, n, 8, m, H/4, W/2) each
    late = slice(4, 8)
    carried = odd[:, :, late, :, :, width // 2 :]  # values that find no place in the even row
    packed = torch.cat((even[:, :, late, :, :, 0::2], odd[:, :, late, :, :, : width // 2]), -1)
    moved = even[:, :, 0:4, :, :, 1::2]
    even_rows = torch.cat(
        (
            _in_columns(moved[:, :, 0:2], 1),
            _in_columns(moved[:, :, 2:4], 0),
            packed,
        ),
        dim=2,
    )
    odd_rows = torch.cat(
        (
            odd[:, :, 0:4],
            _in_columns(carried[:, :, 0:2], 1),
            _in_columns(carried[:, :, 2:4], 0),
        ),
        dim=2,
    )
    out = torch.stack((even_rows, odd_rows), dim=-2).flatten(-3, -2)
    if not channels_inside(g):
        return out
    return out.permute(0, 4, 5, 1, 2, 3).contiguous().permute(0, 3, 4, 5, 1, 2)


def _in_columns(values: Tensor, parity: int) -> Tensor:
    """``values`` in every second column from ``parity`` on, else 0: (..., w) -> (..., 2w)."""
    zeros = torch.zeros_like(values)
    columns = (values, zeros) if parity == 0 else (zeros, values)
    return torch.stack(columns, dim=-1).flatten(-2)


def cell_mask(places: tuple[Places, ...], side: int) -> Tensor:
    """True at the places of each eighth in one cell: (8, 1, side, side), bool."""
    mask = torch.zeros(EIGHTHS, 1, side, side, dtype=torch.bool)
    for eighth, chosen in enumerate(places):
        for row, column in chosen:
            mask[eighth, 0, row, column] = True
    return mask


def step_masks(scale: int) -> Tensor:
    """The masks of a scale's coding steps in one cell: (steps, 8, 1, side, side), bool."""
    return torch.stack([cell_mask(step.places, CELL[scale]) for step in steps_of(scale)])


def inner_mask(scale: int) -> Tensor:
    """Where the elements of the scale below sit on the grid of ``scale``: (8, 1, 2, 2), bool."""
    return cell_mask(tuple((place,) for place in INNER[scale]), 2)


def masks_of(scale: int) -> Tensor:
    """All masks of a scale in one cell: (2 + 2 * steps, 8, 1, side, side), bool.

    Where the scale below sits (nowhere for s1); each step; and what is coded before each step and
    at the end.
    """
    steps = step_masks(scale)
    side = CELL[scale]
    inner = tile(inner_mask(scale), side, side) if scale in INNER else torch.zeros_like(steps[0])
    coded = torch.cat((inner[None], steps)).cumsum(0).bool()
    return torch.cat((inner[None], steps, coded))


def tile(mask: Tensor, height: int, width: int) -> Tensor:
    """Repeat cells over a grid: (..., side, side) -> (..., height, width)."""
    side = mask.shape[-1]
    repeats = [1] * (mask.dim() - 2) + [height // side, width // side]
    return mask.repeat(repeats)


def tile_like(masks: Tensor, like: Tensor) -> Tensor:
    """`tile` masks (n, 8, 1, side, side) over the grid of ``like``, in its order in memory."""
    height, width = like.shape[-2:]
    if not channels_inside(like):
        return tile(masks, height, width)
    side = masks.shape[-1]
    inside = masks.permute(0, 3, 4, 1, 2).repeat(1, height // side, width // side, 1, 1)
    return inside.permute(0, 3, 4, 1, 2)


def step_of_element() -> Tensor:
    """The coding step, 1..11, of each element of an 8x8 cell of the latent: (8, 8, 8), int64."""
    grid: Tensor | None = None
    for scale, side in ((1, 2), (2, 4), (3, STEP_PERIOD)):
        numbers = torch.zeros(EIGHTHS, 1, side, side, dtype=torch.int64)
        for step, mask in zip(steps_of(scale), tile(step_masks(scale), side, side), strict=True):
            numbers = torch.where(mask, step.number, numbers)
        if grid is not None:
            inner = tile(inner_mask(scale), side, side)
            numbers = torch.where(inner, spread(grid), numbers)
        grid = numbers
    assert grid is not None
    return grid.squeeze(1)


def step_membership() -> Tensor:
    """1 where an element of the 8x8 cell is coded by a step: (8 * 8 * 8, 11), float32."""
    step = step_of_element().flatten() - 1
    return torch.nn.functional.one_hot(step, len(CODING_ORDER)).float()


def sum_per_step(x: Tensor, membership: Tensor) -> Tensor:
    """Sum a tensor on the latent's grid over the elements of each step: (B, M, H, W) -> (B, 11)."""
    batch, channels, height, width = x.shape
    cells = x.reshape(
        *(batch, EIGHTHS, channels // EIGHTHS),
        *(height // STEP_PERIOD, STEP_PERIOD, width // STEP_PERIOD, STEP_PERIOD),
    )
    per_place = cells.sum(dim=(2, 3, 5)).flatten(1)  # (B, 8 * 8 * 8)
    return (per_place[:, :, None] * membership).sum(1)
