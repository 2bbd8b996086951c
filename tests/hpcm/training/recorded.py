"""A stand-in for CUDA graphs on a CPU: records the operations of a step, and does them again.

As on a GPU, operations find their inputs and leave their results in the tensors of the recording,
what Python decided stays decided, recording changes no value, and what would hand a value to
Python, or bring one from there, is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.kernels import NO_KERNELS

FORBIDDEN = {"_local_scalar_dense", "lift_fresh", "nonzero", "is_nonzero", "equal"}


class Recording(TorchDispatchMode):
    """The operations that are done while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self._done: list[tuple[Any, tuple[Any, ...], dict[str, Any], list[Tensor]]] = []
        self._found: dict[int, tuple[Any, Any]] = {}  # by address: storage and its first value
        self._made: set[int] = set()

    def __torch_dispatch__(
        self, op: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = op._schema.name.removeprefix("aten::")
        assert name not in FORBIDDEN, f"{name} cannot be recorded"
        kwargs = kwargs or {}
        for tensor in tensors((args, kwargs)):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in self._made:
                self._found.setdefault(storage.data_ptr(), (storage, storage.clone()))
        result = op(*args, **kwargs)
        made = tensors(result)
        self._made |= {tensor.untyped_storage().data_ptr() for tensor in made} - set(self._found)
        self._done.append((op, args, kwargs, [] if name in NO_KERNELS else made))
        return result

    def undo(self) -> None:
        """Give what was there before its values back."""
        for storage, value in self._found.values():
            storage.copy_(value)

    @torch.no_grad()
    def launch(self) -> None:
        """Do all operations, on the tensors that they had."""
        for op, args, kwargs, made in self._done:
            if op._schema.name.removeprefix("aten::") in NO_KERNELS:
                continue
            for place, value in zip(made, tensors(op(*args, **kwargs)), strict=True):
                if value.data_ptr() != place.data_ptr():
                    place.copy_(value)


class CpuRecorder:
    """In the place of `hpcm.training.graphs.Recorder`."""

    recordings = 0

    def __init__(self, device: torch.device) -> None:
        assert device.type == "cpu"

    def aside(self, work: Callable[[], Tensor]) -> Tensor:
        return work()

    def record(self, work: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        recording = Recording()
        with recording:
            result = work()
        recording.undo()
        CpuRecorder.recordings += 1
        return result, recording.launch


def tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]
