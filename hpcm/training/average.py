"""An average of a run's weights: its scores lack the noise of the last steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


class WeightAverage:
    """The exponential average of a model's parameters over optimiser steps.

    After step n it moves towards them by ``max(1 / n, 1 - decay)`` of the difference, so the first
    1 / (1 - decay) steps are averaged evenly and the weights of the start have no part in it.
    Parameters keep their own dtype; frozen ones are averaged too, to what they are.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        named = dict(model.named_parameters())
        self.decay = decay
        self.steps = 0
        self._names = list(named)
        self._weights = [weight.detach() for weight in named.values()]
        self._mean = [weight.clone() for weight in self._weights]

    def update(self) -> None:
        """Take the weights after an optimiser step; waits for no device."""
        self.steps += 1
        torch._foreach_lerp_(self._mean, self._weights, max(1 / self.steps, 1 - self.decay))

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
        self.steps = state["steps"]
        torch._foreach_copy_(self._mean, [state["mean"][name] for name in self._names])
