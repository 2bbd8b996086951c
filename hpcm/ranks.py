"""The processes that train one run together, each on its part of every batch.

They are numbered by *ranks* from 0, in the process group of `torch.distributed`; without a group
there is one process, and everything here leaves its values as they are. Every function but `count`
and `own` waits for the other ranks, so all of them have to call it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, distributed


class RankLostError(ConnectionError):
    """Another process of the run ended or does not answer, so this one cannot go on."""


def count() -> int:
    """How many processes train this run."""
    return distributed.get_world_size() if _in_group() else 1


def own() -> int:
    """The rank of this process."""
    return distributed.get_rank() if _in_group() else 0


def means(values: Sequence[Tensor]) -> list[Tensor]:
    """Each value's mean over the ranks, laid out in memory as the value is.

    The values of all ranks have the same shapes; no gradient flows back. Raises
    :class:`RankLostError`.
    """
    if count() == 1 or not values:
        return list(values)
    flat = torch.cat([value.detach().flatten() for value in values])
    flat = total(flat).div_(count())
    parts = flat.split([value.numel() for value in values])
    found = [torch.empty_like(value) for value in values]
    shaped = [part.view(value.shape) for part, value in zip(parts, values, strict=True)]
    torch._foreach_copy_(found, shaped)
    return found


def mean(value: Tensor) -> Tensor:
    """One value's mean over the ranks, in float64, detached. Raises :class:`RankLostError`."""
    return means([value.detach().double()])[0]


def total(value: Tensor) -> Tensor:
    """The sum over the ranks; may reuse the memory of ``value``. Raises :class:`RankLostError`."""
    if count() > 1:
        _wait(distributed.all_reduce, value)
    return value


def whole_batch(part: Tensor) -> Tensor:
    """The parts (b, ...) of all ranks as one batch (count b, ...), in the order of the ranks.

    What is computed from it is the same on every rank. Its gradient is ``count`` times that of the
    own part, so that the mean over the ranks of what a backward pass gives is the whole batch's.
    """
    if count() == 1:
        return part
    batch: Tensor = _WholeBatch.apply(part)
    return batch


def copy_from_first(values: Sequence[Tensor]) -> None:
    """Give every rank the values of rank 0. Raises :class:`RankLostError`."""
    for value in values if count() > 1 else ():
        sent = value.detach().contiguous()
        _wait(distributed.broadcast, sent, 0)
        value.detach().copy_(sent)


def from_first(value: Any) -> Any:
    """What rank 0 gives, on every rank. Raises :class:`RankLostError`."""
    box = [value]
    if count() > 1:
        _wait(distributed.broadcast_object_list, box, 0)
    return box[0]


class _WholeBatch(torch.autograd.Function):
    """Its backward pass needs no other rank: each computes the same from the same batch."""

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        part = part.contiguous()
        parts = [torch.empty_like(part) for _ in range(count())]
        _wait(distributed.all_gather, parts, part)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0].chunk(count())[own()] * count()


def _in_group() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def _wait(operation: Any, *arguments: Any) -> None:
    """Run an operation of the whole group. Raises :class:`RankLostError`."""
    try:
        operation(*arguments)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:  # of gloo and NCCL alike
        raise RankLostError(f"another process of this run does not answer: {error}") from error
