"""Strided convolutions of kernel 2 and stride 2, whose patches do not overlap: one product each.

On a CPU with channels last, their gradients as products take half the time of PyTorch's
(docs/log.md). B batch; F channels of the fine grid (B, F, 2h, 2w); G channels of the coarse one
(B, G, h, w). Both directions have a weight (G, F, 2, 2).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hpcm.model.gradients import computing_dtype, parameter_gradients
from hpcm.model.pointwise import grid, is_product, like_layout, rows

Gradients = tuple[Tensor | None, Tensor | None]

LEAST = 32  # channels of the fine grid; below, cutting it into patches costs more than it saves


def is_cut(x: Tensor, fine_channels: int) -> bool:
    """Whether a convolution of ``x`` is computed by patches."""
    return is_product(x) and fine_channels >= LEAST


def down(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The convolution (B, F, 2h, 2w) -> (B, G, h, w)."""
    return _Down.apply(x, weight, bias)


def up(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The transposed convolution (B, G, h, w) -> (B, F, 2h, 2w)."""
    return _Up.apply(x, weight, bias)


class _Down(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        dtype = computing_dtype(x)
        x = x.to(dtype)
        ctx.save_for_backward(x, weight, bias)
        return torch.conv2d(x, weight.to(dtype), bias.to(dtype), 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias = ctx.saved_tensors
        to_input, *to_weights = ctx.needs_input_grad
        outer = rows(like_layout(grad, x))
        found = join(outer @ _matrix(weight.to(x.dtype)), grad) if to_input else None
        own: Gradients = (None, None)
        if any(to_weights):
            own = outer.t() @ cut(x), outer.sum(0)
        return found, *_of_weights(weight, bias, own, to_weights)


class _Up(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        dtype = computing_dtype(x)
        x = x.to(dtype)
        ctx.save_for_backward(x, weight, bias)
        product = torch.addmm(bias.to(dtype).repeat(4), rows(x), _matrix(weight.to(dtype)))
        return join(product, x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias = ctx.saved_tensors
        to_input, *to_weights = ctx.needs_input_grad
        outer = cut(like_layout(grad, x))
        found = grid(outer @ _matrix(weight.to(x.dtype)).t(), x) if to_input else None
        own: Gradients = (None, None)
        if any(to_weights):
            own = rows(x).t() @ outer, outer.sum(0).view(4, -1).sum(0)
        return found, *_of_weights(weight, bias, own, to_weights)


def cut(fine: Tensor) -> Tensor:
    """The patches (B * h * w, 4F) of a fine grid in channels last: row, column, channel inside."""
    batch, channels, height, width = fine.shape
    lines = fine.permute(0, 2, 3, 1).view(batch, height // 2, 2, width // 2, 2, channels)
    return lines.transpose(2, 3).reshape(-1, 4 * channels)


def join(patches: Tensor, coarse: Tensor) -> Tensor:
    """The inverse of `cut`, in channels last; ``coarse`` has the batch and the grid of patches."""
    batch, _, height, width = coarse.shape
    lines = patches.view(batch, height, width, 2, 2, -1).transpose(2, 3)
    return lines.reshape(batch, 2 * height, 2 * width, -1).permute(0, 3, 1, 2)


def _matrix(weight: Tensor) -> Tensor:
    """The weight (G, F, 2, 2) as (G, 4F), in the order of `cut`; a view in channels last."""
    return weight.permute(0, 2, 3, 1).flatten(1)


def _of_weights(
    weight: Tensor, bias: Tensor, own: Gradients, needs_grad: list[bool]
) -> tuple[Tensor | None, ...]:
    to_weight, to_bias = own
    if to_weight is not None:
        to_weight = to_weight.view(len(weight), 2, 2, -1).permute(0, 3, 1, 2)
    return parameter_gradients((weight, bias), (to_weight, to_bias), needs_grad)
