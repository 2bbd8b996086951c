"""A training with a known curve that comes to grief where a drill wants it.

It is what :func:`hpcm.train` is to a trial. Its score falls as ``1 / epoch`` towards a floor set by
the learning rate, so that of two rates the better is known at every epoch, and a late score that
strays into an early rung decides wrongly. ``faults.json`` of a search's folder maps learning rates
to faults, and may be rewritten while the search runs.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import ray

from hpcm import ConfigError, EpochReport, TrainConfig
from hpcm.checkpoints import Checkpoint

EPOCHS, FAULTS, STATE = "epochs", "faults.json", "state.json"
BAD_NODE, STUCK = "bad_node", "stuck"


def score(rate: float, epoch: int) -> float:
    """What a trial of this learning rate reports after so many epochs: best at 1e-4."""
    return 1.0 + abs(math.log10(rate) + 4.0) + 1.0 / epoch


class Trained(NamedTuple):
    """An epoch that was really trained, by whom and when."""

    rate: float
    epoch: int
    pid: int
    time: float


def trained(folder: Path) -> list[Trained]:
    """All of them, in order."""
    path = folder / EPOCHS
    lines = path.read_text().splitlines() if path.exists() else []
    words = [line.split() for line in lines]
    return [Trained(float(r), int(e), int(p), float(t)) for r, e, p, t in words]


def write_faults(folder: Path, faults: dict[float, tuple[str, int, int]]) -> None:
    """``faults``: learning rate to what happens, in which epoch, how often."""
    plain = {repr(rate): fault for rate, fault in faults.items()}
    partial = folder / f"{FAULTS}.partial"
    partial.write_text(json.dumps(plain))
    partial.replace(folder / FAULTS)


@dataclass(frozen=True)
class FakeTraining:
    """Sent to the workers with the search's folder; epochs last ``seconds``."""

    folder: Path
    seconds: float

    def __reduce__(self) -> tuple[Any, ...]:
        """What a trial's process does before it has started: the first one hangs there."""
        return unpickled, (self.folder, self.seconds)

    def __call__(self, cfg: TrainConfig, *, resume: Checkpoint | None) -> Iterator[EpochReport]:
        """Yield a report per epoch, from the checkpoint's epoch on; refuse a damaged one."""
        first = 1
        if resume is not None:
            try:
                state = json.loads((resume.folder / STATE).read_text())
                first = int(state["epoch"]) + 1
            except (OSError, ValueError, KeyError) as error:
                raise ConfigError(f"{resume.folder}: damaged: {error}") from None
        return self._epochs(cfg, first)

    def _epochs(self, cfg: TrainConfig, first: int) -> Iterator[EpochReport]:
        rate = cfg.optimizer.lr
        for epoch in range(first, cfg.epochs + 1):
            time.sleep(self.seconds)
            self._break_on_a_bad_node()
            value = score(rate, epoch)
            if self._fault(rate, epoch):
                value = math.nan
            with (self.folder / EPOCHS).open("a") as file:
                file.write(f"{rate!r} {epoch} {os.getpid()} {time.time():.3f}\n")
            metrics = {
                "epoch": float(epoch),
                "val_rd_cost": value,
                "val_bpp": 0.5,
                "val_psnr": 30.0,
                "train/seconds": self.seconds,
            }

            def save(directory: str | Path, epoch: int = epoch) -> None:
                state = {"epoch": epoch, "rate": rate, "weights": [0.0] * 1000}
                (Path(directory) / STATE).write_text(json.dumps(state))

            yield EpochReport(epoch, metrics, save)

    def _break_on_a_bad_node(self) -> None:
        """Every trial breaks on the node of which the file ``bad_node`` holds Ray's id."""
        path = self.folder / BAD_NODE
        if path.exists() and path.read_text() == ray.get_runtime_context().get_node_id():
            raise RuntimeError("CUDA error: uncorrectable ECC error encountered")

    def _fault(self, rate: float, epoch: int) -> bool:
        """Do what `faults.json` says for this epoch; whether the score is to be NaN."""
        path = self.folder / FAULTS
        faults: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        how, when, often = faults.get(repr(rate), (None, 0, 0))
        if epoch != when:
            return False
        done = len(list(self.folder.glob(f"fault-{rate!r}-*")))
        if done >= often:
            return False
        (self.folder / f"fault-{rate!r}-{done}").write_text(f"{time.time():.3f}")
        match how:
            case "raise":
                raise RuntimeError("a cosmic ray")
            case "hang":
                time.sleep(3600)
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "corrupt_and_die":
                newest = checkpoints(self.folder, rate)[-1]
                whole = (newest / STATE).read_bytes()
                (newest / STATE).write_bytes(whole[: len(whole) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            case "vanish_and_die":
                shutil.rmtree(checkpoints(self.folder, rate)[-1].parent)
                os.kill(os.getpid(), signal.SIGKILL)
        return how == "nan"


def unpickled(folder: Path, seconds: float) -> FakeTraining:
    """A training; but a trial's process that finds a file ``stuck`` takes it and never goes on."""
    stuck = folder / STUCK
    if stuck.exists() and ray.get_runtime_context().worker.mode == ray.WORKER_MODE:
        stuck.rename(folder / f"was_{STUCK}")
        time.sleep(3600)
    return FakeTraining(folder, seconds)


def checkpoints(folder: Path, rate: float) -> list[Path]:
    """The checkpoints of the trial of this rate, oldest first, over all experiments."""
    found = []
    for state in sorted(folder.glob(f"storage/*/checkpoints/*/epoch-*/{STATE}")):
        try:
            if json.loads(state.read_text())["rate"] == rate:
                found.append(state.parent)
        except ValueError:
            continue
    return found


def fault_times(folder: Path, rate: float) -> list[float]:
    """When the faults of this rate happened, seconds since 1970."""
    return sorted(float(p.read_text()) for p in folder.glob(f"fault-{rate!r}-*"))
