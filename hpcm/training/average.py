"""An average of a run's weights: its scores lack the noise of the last steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class WeightAverage:
    """The exponential average of a model's parameters over optimiser steps.

    After step n it moves towards them by ``max(1 / n, 1 - decay)`` of the difference, so the first
    1 / (1 - decay) steps are averaged evenly and the weights of the start have no part in it.
    Parameters keep their own dtype; frozen ones are averaged too, to what they are.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        named = dict(model.named_parameters())
        self.decay = decay
        self._names = list(named)
        self._weights = [weight.detach() for weight in named.values()]
        self._mean = [weight.clone() for weight in self._weights]
        self.steps = torch.zeros((), dtype=torch.float64, device=self._mean[0].device)
        """How many steps it covers, (); on the device, which alone may know that one was taken."""

    @torch.no_grad()
    def update(self, taken: Tensor | bool = True) -> None:
        """Take the weights after an optimiser step, if ``taken`` (); waits for no GPU."""
        self.steps.add_(taken)
        share = self.steps.clamp_min(1.0).reciprocal().clamp_min(1 - self.decay) * taken
        if host_has(share):
            torch._foreach_lerp_(self._mean, self._weights, float(share))  # one pass over them
        else:
            move(self._mean, self._weights, share)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the model has the average; afterwards its own weights again, bit for bit."""
        own = [weight.clone() for weight in self._weights]
        torch._foreach_copy_(self._weights, self._mean)
        try:
            yield
        finally:
            torch._foreach_copy_(self._weights, own)

    def state_dict(self) -> dict[str, Any]:
        """The average by the parameters' names, and the steps that it covers."""
        return {"steps": self.steps, "mean": dict(zip(self._names, self._mean, strict=True))}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        self.steps = torch.as_tensor(state["steps"], dtype=torch.float64).to(
            self.steps.device, copy=True
        )
        torch._foreach_copy_(self._mean, [state["mean"][name] for name in self._names])


def host_has(value: Tensor) -> bool:
    """Whether the host can read a value without waiting for a device."""
    return value.is_cpu


def move(mean: list[Tensor], weights: list[Tensor], share: Tensor) -> None:
    """mean <- mean + share (weights - mean), where the host does not know ``share`` ()."""
    ways = torch._foreach_sub(weights, mean)
    torch._foreach_mul_(ways, share.to(ways[0].dtype))
    torch._foreach_add_(mean, ways)
