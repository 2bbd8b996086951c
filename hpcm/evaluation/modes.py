"""A model as it is when it is scored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import cast

import torch
from torch import nn

from hpcm.schema import ConfigError

OUTPUTS = ("x_hat", "bits")  # what the scores are read from


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Inside: evaluation mode, no gradients, no autocast; afterwards each module is as it was."""
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad(), torch.autocast(device_of(model).type, enabled=False):
            yield
    finally:
        for module, training in before:
            module.training = training


def check_codec(model: nn.Module) -> None:
    """Refuse a model that this project's evaluation cannot run. Raises :class:`ConfigError`."""
    stride = getattr(model, "stride", None)
    if not isinstance(stride, int) or next(model.parameters(), None) is None:
        raise ConfigError(
            f"{type(model).__name__} cannot be evaluated here: it has no stride (the number of "
            "pixels that image sides must be a multiple of) or no weights; docs/evaluation.md says "
            "what a model must be and give"
        )


def stride_of(model: nn.Module) -> int:
    """What image sides must be a multiple of, in pixels; of a model that was checked."""
    return cast("int", model.stride)


def check_outputs(model: nn.Module, out: object) -> None:
    """Refuse what a forward pass gave if the scores cannot be read from it."""
    missing = [key for key in OUTPUTS if not isinstance(out, Mapping) or key not in out]
    if missing:
        raise ConfigError(
            f"{type(model).__name__} cannot be evaluated here: its output has no "
            f"{', '.join(missing)}; docs/evaluation.md says what a model must be and give"
        )


def device_of(model: nn.Module) -> torch.device:
    """Where the model's parameters are."""
    return next(model.parameters()).device
