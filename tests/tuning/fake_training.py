"""A training of milliseconds for tests of the search: same interface as `hpcm.train`, no model.

The score falls as 1 / epoch towards a floor that depends on the learning rate. A file in the folder
``FAKE_TRAINING`` of the environment says where to fail, and every epoch that is really trained leaves
a line there, so that a test can count them.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path

from hpcm import ConfigError, Diverged, EpochReport, TrainConfig

SECONDS = float(os.environ.get("FAKE_SECONDS", "0"))


def score(cfg: TrainConfig, epoch: int) -> float:
    """Best at lr 1e-4; every config improves with the epochs."""
    return 1.0 + abs(math.log10(cfg.optimizer.lr) + 4.0) + 1.0 / epoch


def train(cfg: TrainConfig, *, resume: Path | None = None) -> Iterator[EpochReport]:
    """Yield a report per epoch, from the checkpoint's epoch on."""
    first = 1
    if resume is not None:
        state = json.loads((resume / "state.json").read_text())
        if state["lr"] != cfg.optimizer.lr:
            raise ConfigError(f"{resume}: of another config")
        first = state["epoch"] + 1
    return _epochs(cfg, first)


def _epochs(cfg: TrainConfig, first: int) -> Iterator[EpochReport]:
    folder = Path(os.environ["FAKE_TRAINING"])
    for epoch in range(first, cfg.epochs + 1):
        with (folder / "epochs").open("a") as file:
            file.write(f"{cfg.optimizer.lr!r} {epoch}\n")
        time.sleep(SECONDS)
        _misbehave(cfg, epoch, folder)
        metrics = {
            "epoch": float(epoch),
            "val_rd_cost": score(cfg, epoch),
            "val_bpp": 0.5,
            "val_psnr": 30.0,
            "train/seconds": 0.01,
        }
        if (folder / "nan").exists() and cfg.optimizer.lr > 2e-4 and epoch == 2:
            metrics["val_rd_cost"] = math.nan

        def save(directory: str | Path, epoch: int = epoch) -> None:
            state = {"epoch": epoch, "lr": cfg.optimizer.lr}
            (Path(directory) / "state.json").write_text(json.dumps(state))

        yield EpochReport(epoch, metrics, save)


def _misbehave(cfg: TrainConfig, epoch: int, folder: Path) -> None:
    if (folder / "diverge").exists() and cfg.optimizer.lr > 2e-4 and epoch == 2:
        raise Diverged("loss is inf")
    crash = folder / "crash_once"
    if crash.exists() and epoch == 2:
        crash.unlink()
        raise RuntimeError("a cosmic ray")
    if (folder / "crash_always").exists() and cfg.optimizer.lr > 2e-4 and epoch == 2:
        raise RuntimeError("index out of range")
    die = folder / "die_once"
    if die.exists() and epoch == 2:
        die.unlink()
        os._exit(137)
