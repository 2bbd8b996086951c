"""From what a user names to a model with its weights."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hpcm import ConfigError, TrainConfig, build_model
from hpcm.commands.run_folder import RunFolder
from hpcm.training.state import MODEL_FILE, read_record


def load_model(path: Path, variant: str | None) -> tuple[nn.Module, dict[str, Any]]:
    """The model at ``path`` and, for a results file, what it is.

    ``path`` is a run's folder, a checkpoint, or a file of weights of ``variant``. Raises
    :class:`ConfigError` where it is none of them or the weights do not fit.
    """
    if path.is_dir():
        return _from_checkpoint(RunFolder(path).checkpoint() or path, variant)
    if variant is None:
        raise ConfigError(f"{path}: a file of weights does not say its variant; name it by --model")
    model = build_model(variant)
    _load(model, path)
    return model, {"weights": path.name, "model": variant}


def _from_checkpoint(path: Path, variant: str | None) -> tuple[nn.Module, dict[str, Any]]:
    record = read_record(path)
    cfg = TrainConfig.from_plain(record["config"], str(path))
    if variant not in (None, cfg.model.name):
        raise ConfigError(f"--model {variant}: the checkpoint {path} is of {cfg.model.name}")
    model = build_model(cfg.model)
    _load(model, path / MODEL_FILE)
    return model, {
        "model": cfg.model.name,
        "config_digest": record["config_digest"],
        "epoch": record["epoch"],
        "metric": cfg.loss.metric,
        "lmbda": cfg.loss.lmbda,
        "seed": cfg.seed,
    }


def _load(model: nn.Module, path: Path) -> None:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ConfigError(f"{path}: not a file of weights: {_first_line(error)}") from None
    weights = content.get("state_dict", content) if isinstance(content, dict) else content
    try:
        model.load_state_dict(weights)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path}: the weights do not fit: {_first_line(error)}") from None


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:300] or type(error).__name__
