"""A training of milliseconds whose loss remembers what it was trained with; no model.

The loss falls in every epoch by a share that depends on the learning rate, from wherever its
checkpoint stands: a wrong checkpoint or a wrong rate shows in every score after it. The learning
rate may change at a resume, as a hot field may.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hpcm import EpochReport, TrainConfig
from hpcm.checkpoints import Checkpoint

BEST = 1e-4  # learning rate that learns fastest
FIRST = 10.0  # loss before the first epoch


def learnt(loss: float, rate: float) -> float:
    """The loss after one more epoch."""
    return loss * (1 - 0.3 / (1 + abs(math.log10(rate / BEST))))


def saver(epoch: int, loss: float) -> Callable[[Path], None]:
    """What writes a checkpoint."""

    def save(directory: Path) -> None:
        state = {"epoch": epoch, "loss": loss}
        (directory / "state.json").write_text(json.dumps(state))

    return save


def restored(directory: Path) -> tuple[int, float]:
    """Epoch and loss of a checkpoint."""
    state: dict[str, Any] = json.loads((directory / "state.json").read_text())
    return state["epoch"], state["loss"]


def train(cfg: TrainConfig, *, resume: Checkpoint | None = None) -> Iterator[EpochReport]:
    """Yield a report per epoch, from the checkpoint's epoch on."""
    epoch, loss = (0, FIRST) if resume is None else restored(resume.folder)
    return _epochs(cfg.optimizer.lr, epoch, loss, cfg.epochs)


def _epochs(rate: float, epoch: int, loss: float, last: int) -> Iterator[EpochReport]:
    while epoch < last:
        time.sleep(float(os.environ.get("FAKE_SECONDS", "0")))
        epoch, loss = epoch + 1, learnt(loss, rate)
        metrics = {"epoch": float(epoch), "val_rd_cost": loss, "rate": rate, "train/seconds": 0.01}
        yield EpochReport(epoch, metrics, saver(epoch, loss))
