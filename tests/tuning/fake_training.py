"""A training of milliseconds for tests of the search: same interface as `hpcm.train`, no model.

The score falls as 1 / epoch towards a floor that depends on the learning rate. In the folder that
``FAKE_TRAINING`` of the environment names, every epoch that is really trained leaves a line in
``epochs``, and ``misbehave.json`` says what learning rates come to grief in epoch 2, and how.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from hpcm import ConfigError, Diverged, EpochReport, TrainConfig
from hpcm.checkpoints import Checkpoint

SECONDS = float(os.environ.get("FAKE_SECONDS", "0"))


def score(cfg: TrainConfig, epoch: int) -> float:
    """Best at lr 1e-4; every config improves with the epochs; a seed adds a hundredth of itself."""
    return 1.0 + abs(math.log10(cfg.optimizer.lr) + 4.0) + 1.0 / epoch + cfg.seed / 100


def train(cfg: TrainConfig, *, resume: Checkpoint | None = None) -> Iterator[EpochReport]:
    """Yield a report per epoch, from the checkpoint's epoch on."""
    first = 1
    if asked_for(cfg, Path(os.environ["FAKE_TRAINING"])) == "missing":
        raise ConfigError("no such set")
    if resume is not None:
        state = json.loads((resume.folder / "state.json").read_text())
        if state["lr"] != cfg.optimizer.lr:
            raise ConfigError(f"{resume.folder}: of another config")
        first = state["epoch"] + 1
        if _stops_early(cfg, state["epoch"], Path(os.environ["FAKE_TRAINING"])):
            return iter(())
    return _epochs(cfg, first)


def _epochs(cfg: TrainConfig, first: int) -> Iterator[EpochReport]:
    folder = Path(os.environ["FAKE_TRAINING"])
    for epoch in range(first, cfg.epochs + 1):
        with (folder / "epochs").open("a") as file:
            file.write(f"{cfg.optimizer.lr!r} {epoch}\n")
        time.sleep(SECONDS)
        metrics = {
            "epoch": float(epoch),
            "val_rd_cost": score(cfg, epoch),
            "val_bpp": 0.5,
            "val_psnr": 30.0,
            "train/seconds": 0.01,
        }
        if _misbehaves(cfg, epoch, folder):
            metrics["val_rd_cost"] = math.nan

        def save(directory: str | Path, epoch: int = epoch) -> None:
            state = {"epoch": epoch, "lr": cfg.optimizer.lr}
            (Path(directory) / "state.json").write_text(json.dumps(state))

        last = _stops_early(cfg, epoch, folder)
        yield EpochReport(epoch, metrics, save, last)
        if last:
            return


def misbehave(folder: Path, **how: float) -> None:
    """``misbehave(folder, diverge=1e-3)``: refuse, diverge, nan, crash, crash_once, die_once.

    ``early=1e-3`` stops early, after epoch 5; ``missing=1e-3`` is refused before the first one.
    """
    folder.joinpath("misbehave.json").write_text(json.dumps({repr(v): k for k, v in how.items()}))


def asked_for(cfg: TrainConfig, folder: Path) -> str | None:
    """What ``misbehave`` asked of this learning rate."""
    path = folder / "misbehave.json"
    found: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    return found.get(repr(cfg.optimizer.lr))


def _stops_early(cfg: TrainConfig, epoch: int, folder: Path) -> bool:
    return epoch == cfg.epochs or (asked_for(cfg, folder) == "early" and epoch == 5)


def _misbehaves(cfg: TrainConfig, epoch: int, folder: Path) -> bool:
    """Come to grief as asked; whether the score is to be NaN."""
    how = asked_for(cfg, folder)
    if epoch != 2 or how is None:
        return False
    once = folder / f"{how}-{cfg.optimizer.lr!r}"
    if how in ("crash_once", "die_once") and once.exists():
        return False
    once.touch()
    match how:
        case "refuse":
            raise ConfigError("no such set")
        case "diverge":
            raise Diverged("loss is inf")
        case "crash" | "crash_once":
            print("something odd was seen", file=sys.stderr, flush=True)
            raise RuntimeError("a cosmic ray")
        case "die_once":
            os._exit(137)
    return how == "nan"
