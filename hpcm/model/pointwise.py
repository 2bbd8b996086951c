"""1x1 convolutions: as convolutions, or as matrix products if those are faster.

On a CPU with channels last the rows of the product are the grid's positions, without a copy. There
PyTorch's convolutions take up to 1.7 times as long, most of it backward, and with one thread it
leaves oneDNN altogether (docs/log.md). Elsewhere the convolution is one kernel with its bias.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from hpcm.model.gradients import computing_dtype, parameter_gradients, product_gradient

_ONE = ([1, 1], [0, 0], [1, 1], False, [0, 0], 1)  # stride, padding, dilation, .., groups


class Pointwise(nn.Conv2d):
    """A 1x1 convolution (B, inputs, H, W) -> (B, outputs, H, W), whatever computes it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Any batch."""
        return _Pointwise.apply(x, self.weight, self.bias)


def is_channels_last(x: Tensor) -> bool:
    """Whether ``x`` (B, C, H, W) lies so in memory, and not also the other way."""
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def side_by_side(x: Tensor, other: Tensor) -> Tensor:
    """The channels of both, (B, C + D, H, W), in the layout of ``x``.

    For a batch of one image ``torch.cat`` alone may take channels last for the other layout.
    """
    if not is_channels_last(x):
        return torch.cat((x, other), 1)
    return torch.cat((x.permute(0, 2, 3, 1), other.permute(0, 2, 3, 1)), 3).permute(0, 3, 1, 2)


def is_product(x: Tensor) -> bool:
    """Whether a 1x1 convolution of ``x`` is computed as a product of its rows."""
    return x.device.type == "cpu" and is_channels_last(x)


def rows(x: Tensor) -> Tensor:
    """The positions of a channels-last tensor: (B, C, H, W) -> (B * H * W, C), a view."""
    return x.permute(0, 2, 3, 1).flatten(0, 2)


def grid(x: Tensor, like: Tensor) -> Tensor:
    """The inverse of `rows` on the grid of ``like``, for any number of channels."""
    batch, _, height, width = like.shape
    return x.view(batch, height, width, -1).permute(0, 3, 1, 2)


def matrix(weight: Tensor) -> Tensor:
    """The weight (outputs, inputs, 1, 1) as a matrix (outputs, inputs), a view."""
    return weight.flatten(1)


def apply(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The convolution; ``x`` (B, C, H, W)."""
    if is_product(x):
        return grid(torch.addmm(bias, rows(x), matrix(weight).t()), x)
    return torch.ops.aten.convolution(x, weight, bias, *_ONE)


def backward(
    grad: Tensor, x: Tensor, weight: Tensor, needs_grad: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of input, weight and bias; ``needs_grad``: of the input, of the other two.

    That of the weight is None if it was added at once (`hpcm.model.gradients`).
    """
    to_input, to_weights = needs_grad
    if not is_product(x):
        return torch.ops.aten.convolution_backward(
            grad, x, weight, [weight.shape[0]], *_ONE, [to_input, to_weights, to_weights]
        )
    outer = rows(grad)
    return (
        grid(outer @ matrix(weight), x) if to_input else None,
        product_gradient(outer, rows(x), weight) if to_weights else None,
        outer.sum(0) if to_weights else None,
    )


class _Pointwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        dtype = computing_dtype(x)
        x = x.to(dtype)
        ctx.save_for_backward(x, weight, bias)
        return apply(x, weight.to(dtype), bias.to(dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias = ctx.saved_tensors
        to_input, *to_weights = ctx.needs_input_grad
        grad = like_layout(grad, x)
        found, *own = backward(grad, x, weight.to(x.dtype), (to_input, any(to_weights)))
        return found, *parameter_gradients((weight, bias), own, to_weights)


def like_layout(grad: Tensor, x: Tensor) -> Tensor:
    """``grad`` in channels last if ``x`` is multiplied in that layout."""
    return grad.contiguous(memory_format=torch.channels_last) if is_product(x) else grad
