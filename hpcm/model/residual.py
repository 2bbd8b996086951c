"""``x + W2 leaky(W1 spatial(x))``: a residual block as one node of the autograd graph.

Written out, for three reasons: on a CPU what is concatenated is not kept for the backward pass, the
gradient of the hidden layer is overwritten in place, and the weight gradients of a block are added
at once (`hpcm.model.gradients`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hpcm.model import pointwise, slices
from hpcm.model.gradients import computing_dtype, parameter_gradients

SLOPE = 0.01  # of every LeakyReLU
LARGE = 1 << 22  # values of one image in a hidden layer from which it is computed in slices


def residual(x: Tensor, *parameters: Tensor) -> Tensor:
    """The block on ``x`` (B, C, H, W).

    ``parameters``: weight (S, S / groups, 3, 3) and bias of the spatial layer, which sees the first
    S channels; weights and biases of the 1x1 up (E, C, 1, 1) and the 1x1 down (C, E, 1, 1).
    """
    return _Residual.apply(x, *parameters)


class _Residual(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, *parameters: Tensor) -> Tensor:
        dtype = computing_dtype(x)
        x = x.to(dtype)
        kernel, offset, up, up_bias, down, down_bias = (p.to(dtype) for p in parameters)
        seen = _spatial(x[:, : len(kernel)], kernel, offset)
        whole = _with_passed(seen, x)
        kept = _to_keep(x, kernel, seen, whole)
        if _in_slices(x, up):
            ctx.save_for_backward(x, kept, None, *parameters)
            pair = _pair(up, up_bias, down, down_bias)
            out = slices.forward(pointwise.rows(whole), pointwise.rows(x), pair, SLOPE)
            return pointwise.grid(out, x)
        hidden = pointwise.apply(whole, up, up_bias)
        torch.nn.functional.leaky_relu_(hidden, SLOPE)
        ctx.save_for_backward(x, kept, hidden, *parameters)
        return pointwise.apply(hidden, down, down_bias).add_(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, kept, hidden, *parameters = ctx.saved_tensors
        to_input, *to_weights = ctx.needs_input_grad
        kernel, offset, *weights = (p.to(x.dtype) for p in parameters)
        learns, channels = any(to_weights), len(kernel)
        kept = _spatial(x, kernel, offset) if kept is None else kept
        grad, whole = pointwise.like_layout(grad, x), _with_passed(kept, x)
        if hidden is None:
            to_seen, pair = _sliced_backward(grad, whole, weights, learns)
        else:
            to_seen, pair = _whole_backward(grad, whole, hidden, weights, learns)
        to_x, to_kernel, to_offset = _spatial_backward(
            to_seen[:, :channels], x[:, :channels], kernel, (to_input, learns)
        )
        if to_input:
            if channels < x.shape[1]:
                to_seen[:, :channels] = to_x
                to_x = to_seen
            to_x = to_x.add_(grad)
        found = (to_kernel, to_offset, *pair)
        return to_x, *parameter_gradients(parameters, found, to_weights)


def _whole_backward(
    grad: Tensor, whole: Tensor, hidden: Tensor, weights: list[Tensor], learns: bool
) -> tuple[Tensor, tuple[Tensor | None, ...]]:
    """The gradients to ``whole`` and to the two 1x1 convolutions, weight and bias each."""
    up, _, down, _ = weights
    inner, *to_down = pointwise.backward(grad, hidden, down, (True, learns))
    assert inner is not None
    torch.ops.aten.leaky_relu_backward.grad_input(inner, hidden, SLOPE, True, grad_input=inner)
    to_whole, *to_up = pointwise.backward(inner, whole, up, (True, learns))
    assert to_whole is not None
    return to_whole, (*to_up, *to_down)


def _in_slices(x: Tensor, up: Tensor) -> bool:
    """Not in bfloat16, where the sum of a gradient would be rounded at every slice."""
    large = x[0, 0].numel() * len(up) > LARGE
    return large and x.dtype.itemsize >= 4 and pointwise.is_product(x)


def _pair(up: Tensor, up_bias: Tensor, down: Tensor, down_bias: Tensor) -> slices.Pair:
    return slices.Pair(pointwise.matrix(up), up_bias, pointwise.matrix(down), down_bias)


def _sliced_backward(
    grad: Tensor, whole: Tensor, weights: list[Tensor], learns: bool
) -> tuple[Tensor, tuple[Tensor | None, ...]]:
    """As `_whole_backward`, without the hidden layer."""
    to_whole, pair = slices.backward(
        pointwise.rows(grad), pointwise.rows(whole), _pair(*weights), SLOPE, learns
    )
    if pair is None:
        shaped: tuple[Tensor | None, ...] = (None,) * len(weights)
    else:
        shaped = tuple(map(Tensor.view_as, pair, weights))
    return pointwise.grid(to_whole, whole), shaped


def _to_keep(x: Tensor, kernel: Tensor, seen: Tensor, whole: Tensor) -> Tensor | None:
    """What waits for the backward pass, of the spatial layer's output: memory or kernels.

    On a CPU as little as can be had for little: what is depth-wise is computed once more.
    """
    if x.device.type != "cpu":
        return whole
    return None if kernel.shape[1] == 1 else seen


def _with_passed(seen: Tensor, x: Tensor) -> Tensor:
    """What the 1x1 up sees: the spatial layer's output and the channels of ``x`` that it left."""
    channels = seen.shape[1]
    return pointwise.side_by_side(seen, x[:, channels:]) if channels < x.shape[1] else seen


def _spatial(x: Tensor, kernel: Tensor, offset: Tensor) -> Tensor:
    """The 3x3 of (B, S, H, W), padded; depth-wise if a kernel sees one channel."""
    return torch.ops.aten.convolution(x, kernel, offset, *_geometry(kernel))


def _spatial_backward(
    grad: Tensor, x: Tensor, kernel: Tensor, needs_grad: tuple[bool, bool]
) -> tuple[Tensor, Tensor, Tensor]:
    to_input, learns = needs_grad
    return torch.ops.aten.convolution_backward(
        grad, x, kernel, [len(kernel)], *_geometry(kernel), [to_input, learns, learns]
    )


def _geometry(kernel: Tensor) -> tuple[list[int], list[int], list[int], bool, list[int], int]:
    return [1, 1], [1, 1], [1, 1], False, [0, 0], len(kernel) // kernel.shape[1]
