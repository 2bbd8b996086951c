"""The model that a user names by a path, with its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hpcm import ConfigError, build_model
from hpcm.checkpoints import DamagedError, read_record
from hpcm.commands.run_folder import RunFolder
from hpcm.model.checkpoint import MODEL_FILE, load_weights, read_weights, recognise
from hpcm.model.hpcm import HPCM
from hpcm.training.state import config_of


def load_model(path: Path, variant: str | None) -> tuple[HPCM, dict[str, Any]]:
    """The model at ``path`` and, for a results file, what it is.

    ``path`` is a run's folder, a checkpoint, or a file of weights, of which ``variant`` may say the
    model. Raises :class:`ConfigError` if it is none of them or the weights do not fit.
    """
    if path.is_dir():
        return _from_checkpoint(RunFolder(path).checkpoint() or path, variant)
    weights = read_weights(path)
    name = variant or weights.variant or recognise(weights.state, path)
    model = build_model(name)
    load_weights(model, weights, f"{path}, as {name}")
    return model, {**weights.about, "weights": path.name, "model": name}


def _from_checkpoint(path: Path, variant: str | None) -> tuple[HPCM, dict[str, Any]]:
    record = read_record(path)
    cfg = config_of(record, path)
    if variant not in (None, cfg.model.name):
        raise ConfigError(f"--model {variant}: the checkpoint {path} is of {cfg.model.name}")
    try:
        record.check(path, [MODEL_FILE])
    except DamagedError as error:
        raise ConfigError(f"{path}: {error}") from None
    model = build_model(cfg.model)
    load_weights(model, read_weights(path / MODEL_FILE), str(path))
    return model, {
        "model": cfg.model.name,
        "config_digest": record.run["config_digest"],
        "epoch": record.run["epoch"],
        "metric": cfg.loss.metric,
        "lmbda": cfg.loss.lmbda,
        "seed": cfg.seed,
        **({"imports": imports} if (imports := record.run.get("imports")) else {}),
    }
