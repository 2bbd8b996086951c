"""Room for checkpoints, estimated before an experiment exists: a full disk ends a search late."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from hpcm import ConfigError, build_model
from tuning.checkpoints.places import CHECKPOINTS
from tuning.checkpoints.retention import most_checkpoints
from tuning.spaces.ladder_space import CONFIG
from tuning.spaces.probes import boundary_configs
from tuning.spaces.space import SearchSpace
from tuning.spaces.wording import count_text

BYTES = 12  # a parameter in a checkpoint: float32, and Adam's two moments
GB = 1e9


def parameters(space: SearchSpace) -> int:
    """Parameters of the largest model that the space may build."""
    flats = [space.prior()]
    if any(path.startswith(("model.", CONFIG)) for path in space.parameters):
        flats += boundary_configs(space)
    with torch.device("meta"):
        models = {space.config(flat, epochs=1).model: 0 for flat in flats}
        for config in models:
            models[config] = sum(weight.numel() for weight in build_model(config).parameters())
    return max(models.values())


def needed(space: SearchSpace, at_a_time: int) -> float:
    """Bytes that the checkpoints of all trials take at the most."""
    return most_checkpoints(space, at_a_time) * BYTES * float(parameters(space))


def check_disk(space: SearchSpace, folder: Path, at_a_time: int, experiment: Path | None) -> None:
    """Raise :class:`ConfigError` if the checkpoints may not fit.

    ``folder`` need not exist; what ``experiment``, one to be resumed, holds already counts as room.
    """
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    there = _size(experiment, folder) if experiment is not None else 0
    free = shutil.disk_usage(existing).free + there
    need = needed(space, at_a_time)
    if need > free:
        raise ConfigError(
            f"{folder}: checkpoints of {count_text(space.budget.trials, 'trial')} take up to"
            f" {need / GB:.1f} GB ({most_checkpoints(space, at_a_time)} of them, {BYTES} bytes for"
            f" each of {parameters(space) / 1e6:.1f} million parameters); {free / GB:.1f} GB are"
            " free. Make room, name another folder with --storage or --checkpoints, or lower"
            " budget.trials"
        )


def _size(experiment: Path, folder: Path) -> int:
    elsewhere = folder != experiment.parent  # --checkpoints
    root = folder / experiment.name if elsewhere else experiment / CHECKPOINTS
    return sum(path.stat().st_size for path in root.glob("*/*/*") if path.is_file())
