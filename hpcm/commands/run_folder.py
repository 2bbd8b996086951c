"""The folder of one training: its config, its metrics per epoch, its newest checkpoint."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from hpcm import ConfigError, EpochReport, TrainConfig
from hpcm.atomic_files import write_atomically
from hpcm.checkpoints import RECORD_FILE, read_record
from hpcm.files import read_bytes
from hpcm.parts import imported

RUNS = Path("runs")  # below the working directory


@dataclass(frozen=True)
class RunFolder:
    """``config.yaml``, ``metrics.jsonl`` (a line per epoch) and ``checkpoints/epoch-00001``."""

    path: Path

    @classmethod
    def fresh(cls, config: Path, output: Path | None) -> RunFolder:
        """Where a new run goes: ``output``, or ``runs/<config>-<date>-<time>``.

        Raises :class:`ConfigError` if a run is there already.
        """
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        folder = cls(output or RUNS / f"{config.stem}-{stamp}")
        if folder.checkpoint() is not None:
            raise ConfigError(
                f"--output {folder.path}: holds a run already; --resume continues it, another "
                "folder starts a new one"
            )
        return folder

    @classmethod
    def to_resume(cls, config: Path, output: Path | None) -> RunFolder:
        """The run to continue: in ``output``, or the latest ``runs/<config>-*`` with a checkpoint.

        Raises :class:`ConfigError` if there is none.
        """
        places = [output] if output else sorted(RUNS.glob(f"{config.stem}-*"), reverse=True)
        for place in places:
            if cls(place).checkpoint() is not None:
                return cls(place)
        where = output or RUNS / f"{config.stem}-*"
        raise ConfigError(f"--resume: no checkpoint in {where}")

    def checkpoint(self) -> Path | None:
        """The newest complete checkpoint."""
        complete = [
            file.parent for file in (self.path / "checkpoints").glob(f"epoch-*/{RECORD_FILE}")
        ]
        return max(complete, key=_number, default=None)

    def start(self, cfg: TrainConfig, resumed: Path | None) -> None:
        """Make the folder, write the config, forget epochs after the checkpoint ``resumed``.

        Raises :class:`ConfigError` if it cannot be read or written.
        """
        epoch = read_record(resumed).run["epoch"] if resumed else 0
        try:
            (self.path / "checkpoints").mkdir(parents=True, exist_ok=True)
            kept = [line for line in self._lines() if _epoch(line) <= epoch]
            write_atomically(self._metrics, "".join(f"{line}\n" for line in kept).encode())
            needs = [f"--import {name} (SHA-256 {digest})" for name, digest in imported().items()]
            header = "\n".join([f"config digest {cfg.digest}", *needs])
            cfg.to_yaml(self.path / "config.yaml", header=header)
        except OSError as error:
            raise ConfigError(f"{self.path}: cannot be written: {error.strerror}") from None

    def record(self, report: EpochReport) -> None:
        """Append the epoch's metrics, at full precision."""
        with self._metrics.open("a") as file:
            file.write(json.dumps(report.metrics) + "\n")

    def metrics(self) -> list[dict[str, float]]:
        """What was recorded, an entry per epoch."""
        return [json.loads(line) for line in self._lines()]

    def save(self, report: EpochReport) -> None:
        """Write the epoch's checkpoint, then remove the older ones."""
        place = self.path / "checkpoints" / f"epoch-{report.epoch:05d}"
        report.save(place)
        for other in place.parent.glob("epoch-*"):
            if other != place:
                shutil.rmtree(other)

    @property
    def _metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    def _lines(self) -> list[str]:
        if not os.path.lexists(self._metrics):  # a link to nothing is no fresh run
            return []
        return read_bytes(self._metrics).decode(errors="replace").splitlines()


def _number(checkpoint: Path) -> tuple[int, str]:
    """The epoch of a checkpoint, by its name: six digits come after five."""
    number = checkpoint.name.removeprefix("epoch-")
    return int(number) if number.isdecimal() else -1, number


def _epoch(line: str) -> float:
    """The epoch of a line; that of a line cut short by a kill is after every other."""
    try:
        return float(json.loads(line)["epoch"])
    except (ValueError, TypeError, KeyError):
        return float("inf")
