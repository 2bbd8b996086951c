"""Gradients of weights that one pass uses several times, and the type that we compute in.

The spatial priors of HPCM are used 4 and 6 times in a pass, its attentions up to 5 times. Autograd
makes a gradient for each use and adds them one tensor at a time; `in_place` adds those of a whole
block at once, straight into ``.grad``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

_in_place = False


@contextlib.contextmanager
def in_place() -> Iterator[None]:
    """Inside, a backward pass of our blocks adds to ``.grad`` itself.

    Only for ``backward``: what asks for gradients by ``torch.autograd.grad``, or hooks into their
    accumulation (DistributedDataParallel), would not get them.
    """
    global _in_place
    _in_place = True
    try:
        yield
    finally:
        _in_place = False


def parameter_gradients(
    parameters: Sequence[Tensor], found: Sequence[Tensor | None], needs_grad: Sequence[bool]
) -> tuple[Tensor | None, ...]:
    """What a backward pass returns for ``parameters``: ``found``, or None if it is added now."""
    given = [
        None if grad is None or not needed else grad.to(parameter.dtype)
        for parameter, grad, needed in zip(parameters, found, needs_grad, strict=True)
    ]
    if not _in_place:
        return tuple(given)
    sums, parts = [], []
    for parameter, grad in zip(parameters, given, strict=True):
        if grad is None:
            continue
        if parameter.grad is None:
            parameter.grad = _laid_out(grad, parameter)
        else:
            sums.append(parameter.grad)
            parts.append(grad)
    if sums:
        torch._foreach_add_(sums, parts)
    return (None,) * len(given)


def product_gradient(outer: Tensor, inner: Tensor, weight: Tensor) -> Tensor | None:
    """The gradient ``outer.T @ inner`` of a 1x1 ``weight`` (outputs, inputs, 1, 1).

    None if there is a gradient that it can be added to: the product itself adds, which saves a
    tensor of the weight's size, written and read once.
    """
    before = weight.grad if _in_place and weight.requires_grad else None
    if before is None or before.dtype != outer.dtype:
        return (outer.t() @ inner).view_as(weight)
    before.view(len(before), -1).addmm_(outer.t(), inner)
    return None


def _laid_out(grad: Tensor, parameter: Tensor) -> Tensor:
    """``grad`` in its parameter's order in memory, which a fused optimizer walks without asking."""
    sides = zip(parameter.shape, parameter.stride(), grad.stride(), strict=True)
    if all(size == 1 or own == other for size, own, other in sides):
        return grad
    return torch.empty_like(parameter).copy_(grad)


def computing_dtype(x: Tensor) -> torch.dtype:
    """The type that autocast wants for a convolution of ``x``; its own without autocast."""
    kind = x.device.type
    if kind != "meta" and torch.is_autocast_enabled(kind):
        return torch.get_autocast_dtype(kind)
    return x.dtype
