"""A function as one graph by ``torch.compile``; if that fails, the function as it is."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch

BACKEND = "inductor"
#: Compiles the backward pass with the forward pass, inside of what catches a failure. Torch 2.8 may
#: lack it.
BACKWARD_TOO = "force_non_lazy_backward_lowering"


class CompileFailed(UserWarning):
    """``precision.compile: graph`` failed; the run goes on without it."""


class Compiled:
    """Calls ``function`` as one graph, without breaks. ``failed``: it had to be called as it is."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._plain = function
        self._graph = torch.compile(function, fullgraph=True, backend=BACKEND)
        self.failed = False

    def __call__(self, *arguments: Any) -> Any:
        """The function's result. Warns once, if it cannot be compiled."""
        if self.failed:
            return self._plain(*arguments)
        from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException
        from torch._functorch import config

        early = {BACKWARD_TOO: True} if hasattr(config, BACKWARD_TOO) else {}
        try:
            with config.patch(early):
                return self._graph(*arguments)
        except (TorchDynamoException, FailOnRecompileLimitHit) as error:
            self.failed = True
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            reason = " ".join(lines[:2])  # of a backend the first one only says that it raised
            warnings.warn(
                f"precision.compile: graph: it cannot be compiled, and runs as it is: "
                f"{type(error).__name__}: {reason}",
                CompileFailed,
                stacklevel=2,
            )
            return self._plain(*arguments)
