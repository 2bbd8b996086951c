"""Checkpoints of trials: in one known place, written aside and renamed, the one before kept.

``<experiment>/checkpoints/<trial>/epoch-000111/`` holds what the run saved, and its epoch's
metrics. They are ours and not Ray's, because Ray 2.60 retries a damaged checkpoint until the trial
is lost, and after a restart may look for one that was rotated away. Disk: at most two checkpoints
of each running trial, and one of each other.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

CHECKPOINTS = "checkpoints"  # folder of an experiment
METRICS_FILE = "metrics.json"
CRASHES_FILE = "last_crash.json"
PARTIAL = ".partial"

SHARE = 0.05  # of the training time that saving may take
SHORTEST_INTERVAL = 60.0  # seconds of training between checkpoints that are not due anyway


class CheckpointStore:
    """The checkpoints of one trial. Any number of readers, one writer."""

    def __init__(self, experiment: Path, trial: str) -> None:
        self.directory = experiment / CHECKPOINTS / trial
        self._saved_at = time.monotonic()
        self._took = 0.0  # seconds of the last save

    def save(self, epoch: int, metrics: dict[str, float], save: Callable[[Path], None]) -> Path:
        """Write a checkpoint; a reader sees all of it or none. Keeps the one before."""
        started = time.monotonic()
        final = self.directory / f"epoch-{epoch:06d}"
        partial = self.directory / f"{final.name}.{os.getpid()}{PARTIAL}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save(partial)
        (partial / METRICS_FILE).write_text(json.dumps(metrics))
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
        self.keep(2)
        self._saved_at = time.monotonic()
        self._took = self._saved_at - started
        return final

    def adopt(self, donor: CheckpointStore, epoch: int) -> None:
        """Have the donor's checkpoint of ``epoch`` and no other, before any process of the trial.

        Its files are shared where the filesystem can link, for a checkpoint never changes, and
        copied where it cannot. A reader sees all of it or none. Raises OSError, with this store as
        it was, where the donor has none or there is no room.
        """
        final = self.directory / f"epoch-{epoch:06d}"
        partial = self.directory / f"{final.name}.{os.getpid()}{PARTIAL}"
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(donor.directory / final.name, partial, copy_function=_share)
        for path in self._whole():
            shutil.rmtree(path)
        partial.rename(final)

    def due(self) -> bool:
        """Whether a checkpoint now would cost at most a twentieth of the training time."""
        since = time.monotonic() - self._saved_at
        return since >= max(SHORTEST_INTERVAL, self._took / SHARE)

    def newest_first(self) -> Iterator[tuple[Path, dict[str, float]]]:
        """Each whole checkpoint with its epoch's metrics."""
        for path in reversed(self._whole()):
            try:
                metrics = json.loads((path / METRICS_FILE).read_text())
            except (OSError, ValueError):
                continue
            if isinstance(metrics, dict) and isinstance(metrics.get("epoch"), int | float):
                yield path, metrics

    def keep(self, count: int) -> None:
        """Remove all but the ``count`` newest."""
        for path in self._whole()[:-count]:
            shutil.rmtree(path, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what a process that died left half written; for the start of the next one."""
        for path in self.directory.glob(f"epoch-*{PARTIAL}"):
            shutil.rmtree(path, ignore_errors=True)

    def same_crash(self, text: str) -> bool:
        """Note an exception, and say whether the attempt before ended with the same one."""
        path = self.directory / CRASHES_FILE
        try:
            before = json.loads(path.read_text())
        except (OSError, ValueError):  # none yet, or cut short by a full disk
            before = None
        with contextlib.suppress(OSError):  # it must not hide the exception that it notes
            self.directory.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(text))
        return bool(before == text)

    def _whole(self) -> list[Path]:
        return sorted(p for p in self.directory.glob("epoch-*") if p.suffix != PARTIAL)


def _share(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
