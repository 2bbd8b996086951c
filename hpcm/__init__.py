"""HPCM, a learned image codec, and its training. Runs without Ray."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpcm.config import TrainConfig
    from hpcm.evaluation.images import evaluate
    from hpcm.losses.diverged import Diverged
    from hpcm.model import build_model
    from hpcm.parts import import_parts, register
    from hpcm.schema import ConfigError
    from hpcm.training.inputs import check_inputs, starting_point
    from hpcm.training.local_processes import local_processes
    from hpcm.training.loop import EpochReport, train

__all__ = [
    "ConfigError",
    "Diverged",
    "EpochReport",
    "TrainConfig",
    "build_model",
    "check_inputs",
    "evaluate",
    "import_parts",
    "local_processes",
    "register",
    "starting_point",
    "train",
]

HOMES = {
    "ConfigError": "hpcm.schema",
    "Diverged": "hpcm.losses.diverged",
    "EpochReport": "hpcm.training.loop",
    "TrainConfig": "hpcm.config",
    "build_model": "hpcm.model",
    "check_inputs": "hpcm.training.inputs",
    "evaluate": "hpcm.evaluation.images",
    "import_parts": "hpcm.parts",
    "local_processes": "hpcm.training.local_processes",
    "register": "hpcm.parts",
    "starting_point": "hpcm.training.inputs",
    "train": "hpcm.training.loop",
}


def __getattr__(name: str) -> Any:
    """A public name, fetched at its first use: not every command needs torch."""
    if name not in HOMES:
        raise AttributeError(f"module 'hpcm' has no attribute {name!r}")
    return getattr(import_module(HOMES[name]), name)
