"""Checkpoints of a run: everything a resume needs, and what a config may change in between."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from hpcm import parts, ranks
from hpcm.atomic_files import Contents, replacing
from hpcm.checkpoints import RECORD_FILE, Checkpoint, DamagedError, Record, read_checkpoint
from hpcm.config import MAY_DIFFER, TrainConfig
from hpcm.model.checkpoint import MODEL_FILE
from hpcm.model.tensor_files import read_tensors
from hpcm.schema import ConfigError, fields_of, leaves
from hpcm.training.run import Run
from hpcm.training.seeding import NOISE, NOISE_BEFORE, NOISES

TRAINING_FILE = "training.pt"  # optimiser, balancer, regularizers, early stopping, average


def save(run: Run, directory: str | Path, metrics: Mapping[str, float]) -> None:
    """Write a checkpoint of ``run`` into ``directory``; a reader sees all of it or none.

    ``metrics`` are those of its last epoch. Raises OSError.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / RECORD_FILE).unlink(missing_ok=True)
    training = {
        "optimizer": run.optimizer.state_dict(),
        "balancer": run.balancer.state_dict(),
        "regularizers": {name: part.state_dict() for name, part in run.regularizers.items()},
        "stopper": run.stopper.state_dict(),
    }
    if run.average is not None:
        training["average"] = run.average.state_dict()
    files = {
        MODEL_FILE: _write(directory / MODEL_FILE, run.model.state_dict()),
        TRAINING_FILE: _write(directory / TRAINING_FILE, training),
    }
    about = {
        "epoch": run.epoch,
        "step": run.step,
        "config": run.cfg.to_plain(),
        "config_digest": run.cfg.digest,
        "torch": torch.__version__,
        "noise": run.noise,
        "imports": parts.imported(),
    }
    Record(files, metrics, about).write(directory)


def config_of(record: Record, where: str | Path) -> TrainConfig:
    """The config of a checkpoint's run. Raises :class:`ConfigError`, also for a missing part."""
    if not record.run:
        raise ConfigError(f"{where}: not the checkpoint of a run")
    try:
        return TrainConfig.from_plain(record.run["config"], str(where))
    except ConfigError as error:
        advice = parts.missing_parts("the run", record.run.get("imports", {}))
        raise ConfigError(f"{error}{advice}") from None


def restore(run: Run, checkpoint: str | Path | Checkpoint) -> None:
    """Continue ``run`` from a checkpoint; afterwards every hot field has the config's value.

    A folder is checked first. Raises :class:`ConfigError` if it is damaged, or of a run that this
    config or these imported parts cannot continue, naming what differs.
    """
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = read_checkpoint(checkpoint)
    folder, about = checkpoint.folder, checkpoint.record.run
    for name in {MODEL_FILE, TRAINING_FILE} - checkpoint.record.files.keys():
        raise DamagedError(f"{folder}: {name} is not in its record")
    changes = parts.differences(about.get("imports", {}), parts.imported())
    if changes:
        raise ConfigError(f"{folder}: cannot be continued: {'; '.join(changes)}")
    differing = differences(config_of(checkpoint.record, folder), run.cfg)
    if differing:
        raise ConfigError(f"{folder}: cannot be continued by this config: {'; '.join(differing)}")
    run.model.load_state_dict(read_tensors(folder / MODEL_FILE, run.device))
    training = read_tensors(folder / TRAINING_FILE, run.device)
    run.optimizer.load_state_dict(training["optimizer"])
    run.balancer.load_state_dict(training["balancer"])
    _restore_regularizers(run, training)
    run.stopper.load_state_dict(training["stopper"])
    if run.average is not None:
        run.average.load_state_dict(training["average"])
    run.epoch, run.step = about["epoch"], about["step"]
    run.noise = about.get("noise", NOISE_BEFORE)
    if run.noise not in NOISES:
        raise ConfigError(
            f"{folder}: cannot be continued: its noise is {run.noise!r}, of another version"
        )
    if run.noise != NOISE and ranks.count() > 1:
        raise ConfigError(
            f"{folder}: cannot be continued by {ranks.count()} processes: it began with noise that "
            "is drawn for whole batches; one process continues it"
        )
    run.apply_config()


def _restore_regularizers(run: Run, training: dict[str, Any]) -> None:
    """Restore their states; checkpoints before 0.1.0 have only that of inter_scale."""
    states = training.get("regularizers") or {"inter_scale": training["inter_scale"]}
    for name, state in states.items():
        run.regularizers[name].load_state_dict(state)


def differences(saved: TrainConfig, cfg: TrainConfig) -> list[str]:
    """The fields that decide the numbers and differ from a saved config: ``path: old, now new``."""
    old, new = leaves(saved.to_plain()), leaves(cfg.to_plain())
    allowed = MAY_DIFFER | {info.path for info in fields_of(TrainConfig) if info.hot}
    return [
        f"{path}: {old.get(path)!r}, now {new.get(path)!r}"
        for path in sorted(old.keys() | new.keys())
        if old.get(path) != new.get(path) and path not in allowed
    ]


def _write(path: Path, content: Any) -> Contents:
    with replacing(path) as file:  # given a path, torch would hide that a disk is full
        torch.save(content, file.stream)
    return file.contents
