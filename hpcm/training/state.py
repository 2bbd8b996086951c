"""Checkpoints: everything a resume needs, written atomically, checked before it is believed."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch

from hpcm.config import TrainConfig
from hpcm.files import open_file, read_json, readable
from hpcm.model.checkpoint import MODEL_FILE
from hpcm.model.tensor_files import read_tensors
from hpcm.schema import ConfigError, fields_of, leaves
from hpcm.training.run import Run

TRAINING_FILE = "training.pt"  # optimiser, balancer, regulariser, early stopping, average
RUN_FILE = (
    "run.json"  # epoch, step, config, checksums; written last, so its presence means complete
)

#: What every run record holds.
RECORD = {"epoch": int, "step": int, "config": dict, "config_digest": str, "sha256": dict}

#: Fields that may differ between a checkpoint and the config that continues it, besides hot ones.
MAY_DIFFER = frozenset(
    ("epochs", "validate_every", "data.val", "data.workers", "data.cache", "precision.threads")
)


def save(run: Run, directory: str | Path) -> None:
    """Write a checkpoint of ``run`` into ``directory``; a reader sees all of it or none."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / RUN_FILE).unlink(missing_ok=True)
    training = {
        "optimizer": run.optimizer.state_dict(),
        "balancer": run.balancer.state_dict(),
        "regularizers": {name: part.state_dict() for name, part in run.regularizers.items()},
        "stopper": run.stopper.state_dict(),
    }
    if run.average is not None:
        training["average"] = run.average.state_dict()
    record = {
        "epoch": run.epoch,
        "step": run.step,
        "config": run.cfg.to_plain(),
        "config_digest": run.cfg.digest,
        "torch": torch.__version__,
        "sha256": {
            MODEL_FILE: _write(directory / MODEL_FILE, run.model.state_dict()),
            TRAINING_FILE: _write(directory / TRAINING_FILE, training),
        },
    }
    _replace(directory / RUN_FILE, json.dumps(record, indent=1).encode())


def read_record(directory: str | Path) -> dict[str, Any]:
    """A checkpoint's run record. Raises :class:`ConfigError` where it is not complete."""
    path = Path(directory) / RUN_FILE
    try:
        record: dict[str, Any] = read_json(path)
    except ConfigError as error:
        raise ConfigError(f"{directory}: not a complete checkpoint: {error}") from None
    wrong = [key for key, kind in RECORD.items() if not _holds(record, key, kind)]
    if wrong:
        raise ConfigError(f"{path}: not the record of a run: {wrong[0]} is missing or damaged")
    for name in (MODEL_FILE, TRAINING_FILE):
        expected = record["sha256"].get(name)
        with readable(path.parent / name), open_file(path.parent / name) as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != expected:
            raise ConfigError(f"{directory}: {name} is damaged: its checksum differs")
    return record


def _holds(record: Any, key: str, kind: type) -> bool:
    return isinstance(record, dict) and isinstance(record.get(key), kind)


def restore(run: Run, directory: str | Path) -> None:
    """Continue ``run`` from a checkpoint; afterwards every hot field has the config's value.

    Raises :class:`ConfigError` for a damaged checkpoint, or one of a run that this config cannot
    continue, naming the fields that differ.
    """
    record = read_record(directory)
    differing = differences(record["config"], run.cfg)
    if differing:
        lines = "; ".join(differing)
        raise ConfigError(f"{directory}: cannot be continued by this config: {lines}")
    directory = Path(directory)
    run.model.load_state_dict(read_tensors(directory / MODEL_FILE, run.device))
    training = read_tensors(directory / TRAINING_FILE, run.device)
    run.optimizer.load_state_dict(training["optimizer"])
    run.balancer.load_state_dict(training["balancer"])
    _restore_regularizers(run, training)
    run.stopper.load_state_dict(training["stopper"])
    if run.average is not None:
        run.average.load_state_dict(training["average"])
    run.epoch, run.step = record["epoch"], record["step"]
    run.apply_config()


def _restore_regularizers(run: Run, training: dict[str, Any]) -> None:
    """Their states; checkpoints before 0.1.0 have that of inter_scale alone."""
    states = training.get("regularizers") or {"inter_scale": training["inter_scale"]}
    for name, state in states.items():
        run.regularizers[name].load_state_dict(state)


def differences(saved: dict[str, Any], cfg: TrainConfig) -> list[str]:
    """The fields that decide the numbers and differ from a saved config: ``path: old, now new``."""
    old, new = leaves(saved), leaves(cfg.to_plain())
    allowed = MAY_DIFFER | {info.path for info in fields_of(TrainConfig) if info.hot}
    return [
        f"{path}: {old.get(path)!r}, now {new.get(path)!r}"
        for path in sorted(old.keys() | new.keys())
        if old.get(path) != new.get(path) and path not in allowed
    ]


def _write(path: Path, content: Any) -> str:
    """Save ``content`` and return the SHA-256 of the file."""
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:  # given a path, torch would hide that a disk is full
        torch.save(content, file)
    digest = hashlib.sha256(partial.read_bytes()).hexdigest()
    _sync(partial)
    partial.replace(path)
    return digest


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_suffix(".partial")
    partial.write_bytes(content)
    _sync(partial)
    partial.replace(path)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
