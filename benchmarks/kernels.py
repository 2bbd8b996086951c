"""How many kernels a step launches, counted on the meta device: no arithmetic, seconds.

A kernel is an operator that reaches the dispatcher and is neither a view nor an allocation. On the
meta device every wait for a value fails, so what is counted has none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from hpcm.losses import TASK_SETS, LossConfig, rate_distortion
from hpcm.model import build_model
from hpcm.model.gradients import in_place

NO_KERNELS = {
    *("view", "_unsafe_view", "_reshape_alias", "reshape", "view_as", "t", "transpose", "permute"),
    *("expand", "as_strided", "slice", "select", "split", "split_with_sizes", "chunk", "unbind"),
    *("unsqueeze", "squeeze", "unfold", "diagonal", "alias", "detach", "lift_fresh"),
    *("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"),
}

#: What hands a value of the device to Python.
WAITS = {
    *("tolist", "item", "cpu", "numpy", "nonzero", "__bool__", "__float__", "__int__"),
    *("__index__", "is_nonzero", "equal", "allclose"),
}


class KernelCounter(TorchDispatchMode):
    """Counts kernels by name while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(
        self, op: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = op._schema.name.removeprefix("aten::")
        if name not in NO_KERNELS:
            self.counts[name] += 1
        return op(*args, **(kwargs or {}))


class WaitCounter(TorchFunctionMode):
    """Counts what makes the host wait for the device while it is entered, on any device."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    @property
    def total(self) -> int:
        """All of them."""
        return self.counts.total()

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name in WAITS:
            self.counts[name] += 1
        return func(*args, **(kwargs or {}))


def kernels_of_a_step(model: str, tasks: str = "two_task", adds: bool = False) -> dict[str, int]:
    """Kernels of forward and loss, and of backward, at batch 1 and 256 x 256.

    ``adds``: with autograd's own additions of gradients, as MGDA and UPGrad need them.
    """
    net = build_model(model).to("meta").train()
    x = torch.empty(1, 3, 256, 256, device="meta")
    shapes = net.noise_shapes(256, 256)
    noise = {name: torch.empty(1, *shape, device="meta") for name, shape in shapes.items()}
    with KernelCounter() as forward:
        losses = _losses(net, x, noise, tasks)
    with KernelCounter() as backward, nullcontext() if adds else in_place():
        losses.backward(torch.ones_like(losses))
    return {"forward": forward.counts.total(), "backward": backward.counts.total()}


def _losses(net: nn.Module, x: Tensor, noise: dict[str, Tensor], tasks: str) -> Tensor:
    out = net(x, noise)
    terms = rate_distortion(out, x)
    measure: Callable[..., Tensor] = TASK_SETS[tasks]
    return measure(out, x, LossConfig(), terms)
