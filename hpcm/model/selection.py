"""Choices between tensors by masks, each one node of the autograd graph with few kernels.

Tensors are in eighths, (B, n, 8, m, h, w), and masks (8, 1, h, w), as in `hpcm.model.partition`.
`torch.where` would make a filled scalar for each of its gradients, and a slice one of zeros.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hpcm.model.coding_order import Places
from hpcm.model.partition import gather, spread


def pick(x: Tensor, places: Places, mask: Tensor) -> Tensor:
    """`partition.gather`; ``mask`` is true at ``places``, on the grid of ``x``."""
    return _Pick.apply(x, places, mask)


def fill_in(fine: Tensor, coarse: Tensor, places: Places, mask: Tensor) -> Tensor:
    """``fine``, but ``coarse``, of half its sides, where ``mask`` is true: at ``places``."""
    return _FillIn.apply(fine, coarse, places, mask)


def assemble(masks: Tensor, *parts: Tensor) -> Tensor:
    """Each of ``parts`` where its own mask is true; where none is, anything, without a gradient."""
    return _Assemble.apply(masks, *parts)


def straight_through(decided: Tensor, values: Tensor, coded: Tensor) -> Tensor:
    """``decided``, with a gradient of 1 to ``values`` where ``coded`` is true, else of 0."""
    return _StraightThrough.apply(decided, values, coded)


class _Pick(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, places: Places, mask: Tensor) -> Tensor:
        ctx.save_for_backward(mask)
        return gather(x, places)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (mask,) = ctx.saved_tensors
        return spread(grad) * mask, None, None


class _FillIn(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, fine: Tensor, coarse: Tensor, places: Places, mask: Tensor) -> Tensor:
        ctx.save_for_backward(mask)
        ctx.places = places
        return torch.where(mask, spread(coarse), fine)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        (mask,) = ctx.saved_tensors
        return grad * ~mask, gather(grad, ctx.places), None, None


class _Assemble(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, masks: Tensor, *parts: Tensor) -> Tensor:
        ctx.save_for_backward(masks)
        chosen, *others = parts
        for mask, part in zip(masks[1:], others, strict=True):
            chosen = torch.where(mask, part, chosen)
        return chosen

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (masks,) = ctx.saved_tensors
        return None, *(grad * mask for mask in masks)


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, decided: Tensor, values: Tensor, coded: Tensor) -> Tensor:
        ctx.save_for_backward(coded)
        return decided.view_as(decided)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None]:
        (coded,) = ctx.saved_tensors
        return None, grad * coded, None
