"""Trainings that only sleep. In a module of their own: a trial's process imports nothing else."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hpcm import EpochReport, TrainConfig
from hpcm.checkpoints import Checkpoint


@dataclass(frozen=True)
class Sleeper:
    """Sleeps for ``seconds``, and notes in the file ``notes`` when it began and ended."""

    notes: Path
    seconds: float

    def __call__(
        self, cfg: TrainConfig, *, resume: Checkpoint | None = None
    ) -> Iterator[EpochReport]:
        """Yield reports without a network; nothing is saved."""
        return self._epochs(cfg)

    def _epochs(self, cfg: TrainConfig) -> Iterator[EpochReport]:
        self._note("first", time.process_time())
        for epoch in range(1, cfg.epochs + 1):
            time.sleep(self.seconds / cfg.epochs)
            if epoch == cfg.epochs:
                self._note("last")
            metrics = {"epoch": float(epoch), "val_rd_cost": 1.0 / epoch, "train/seconds": 1.0}
            yield EpochReport(epoch, metrics, lambda directory: None)

    def _note(self, what: str, worked: float = 0.0) -> None:
        with self.notes.open("a") as file:
            file.write(f"{what} {time.time()} {worked}\n")


@dataclass(frozen=True)
class Rated:
    """Sleeps for ``seconds`` an epoch; its config says how good it is, and it can be resumed."""

    seconds: float

    def __call__(
        self, cfg: TrainConfig, *, resume: Checkpoint | None = None
    ) -> Iterator[EpochReport]:
        """Yield reports without a network; a checkpoint is the epoch's number."""
        done = int((resume.folder / "epoch").read_text()) if resume else 0
        quality = zlib.crc32(repr(cfg).encode()) % 1000 / 1000
        for epoch in range(done + 1, cfg.epochs + 1):
            time.sleep(self.seconds)
            metrics = {"epoch": float(epoch), "val_rd_cost": quality + 1.0 / epoch}

            def save(directory: Path | str, epoch: int = epoch) -> None:
                (Path(directory) / "epoch").write_text(str(epoch))

            yield EpochReport(epoch, {**metrics, "train/seconds": self.seconds}, save)
