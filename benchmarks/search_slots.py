"""How long a slot waits between two trials on a real Ray; the trials only sleep."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hpcm import EpochReport, TrainConfig
from tuning import load_space, run_experiment
from tuning.cluster import cluster
from tuning.scheduler_sections import Fifo
from tuning.searcher_sections import Random

EPOCHS = 3


@dataclass(frozen=True)
class Sleeper:
    """A training that sleeps for ``seconds``, and notes when it began and ended in ``notes``."""

    notes: Path
    seconds: float

    def __call__(self, cfg: TrainConfig, *, resume: Path | None = None) -> Iterator[EpochReport]:
        """Yield reports without a network; nothing is saved."""
        return self._epochs(cfg)

    def _epochs(self, cfg: TrainConfig) -> Iterator[EpochReport]:
        self._note("first")
        for epoch in range(1, cfg.epochs + 1):
            time.sleep(self.seconds / cfg.epochs)
            if epoch == cfg.epochs:
                self._note("last")
            metrics = {"epoch": float(epoch), "val_rd_cost": 1.0 / epoch, "train/seconds": 1.0}
            yield EpochReport(epoch, metrics, lambda directory: None)

    def _note(self, what: str) -> None:
        with self.notes.open("a") as file:
            file.write(f"{what} {time.time()}\n")


def measure(seconds: float, trials: int) -> dict[str, Any]:
    """The waits of both slots, and their share of the slots' time between first and last trial."""
    written = load_space(
        "phase3",
        "laptop",
        [
            f"budget.trials={trials}",
            "budget.concurrent=2",
            f"fidelity.max={EPOCHS}",
            "resources.cpu=1",
        ],
    )
    space = replace(written, searcher=Random(), scheduler=Fifo())
    with tempfile.TemporaryDirectory() as folder:
        notes = Path(folder) / "notes"
        with cluster(None, dashboard=False):
            result = run_experiment(space, storage=folder, train=Sleeper(notes, seconds))
        assert result.complete, result.error
        return {"load_before": os.getloadavg()[2], **waits(notes.read_text(), seconds)}


def waits(notes: str, seconds: float) -> dict[str, Any]:
    """What the notes say: the k-th trial to end makes room for the k-th of those that come later.

    The first two trials start with the search itself and wait for nobody.
    """
    found: dict[str, list[float]] = {"first": [], "last": []}
    for line in notes.splitlines():
        what, at = line.split()
        found[what].append(float(at))
    begun, ended = sorted(found["first"]), sorted(found["last"])
    gaps = [begin - end for begin, end in zip(begun[2:], ended, strict=False)]
    idle, busy = sum(gaps), seconds * len(gaps)
    return {
        "waits_seconds": [round(gap, 2) for gap in gaps],
        "median_wait_seconds": statistics.median(gaps),
        "idle_share": idle / (idle + busy),
    }
