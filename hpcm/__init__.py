"""HPCM, a learned image codec, and its training. Runs without Ray."""

from __future__ import annotations

from hpcm.config import TrainConfig
from hpcm.evaluation.images import evaluate
from hpcm.losses.diverged import Diverged
from hpcm.model import build_model
from hpcm.parts import import_parts, register
from hpcm.schema import ConfigError
from hpcm.training.inputs import check_inputs, starting_point
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
    "register",
    "starting_point",
    "train",
]
