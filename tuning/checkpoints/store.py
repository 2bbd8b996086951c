"""Checkpoints of trials: in one known place, as a whole or not at all, the one before kept.

``<experiment>/checkpoints/<trial>/epoch-000111/`` holds what the run saved and its record
(:mod:`hpcm.checkpoints`); with ``--checkpoints`` it is ``<that place>/<experiment>/<trial>/..``.
They are ours and not Ray's, because Ray 2.60 retries a damaged checkpoint until the trial is lost,
and after a restart may look for one that was rotated away. How many are kept:
:mod:`tuning.checkpoints.retention`.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

from hpcm.checkpoints import Checkpoint, DamagedError
from tuning.checkpoints.folders import PREFIX, LocalFolder, RemoteFolder
from tuning.checkpoints.places import CHECKPOINTS, checkpoint_folder

SHARE = 0.05  # of the training time that saving may take
SHORTEST_INTERVAL = 60.0  # seconds of training between checkpoints that are not due anyway
WHILE_RUNNING = 2  # checkpoints kept of a trial that runs

logger = logging.getLogger(__name__)


class CheckpointStore:
    """The checkpoints of one trial. Any number of readers, one writer."""

    def __init__(self, experiment: Path, trial: str, place: str | None = None) -> None:
        """``place``: of all experiments, :func:`~tuning.checkpoints.places.checkpoint_place`."""
        self.directory = experiment / CHECKPOINTS / trial
        self.folder = checkpoint_folder(experiment, trial, place)
        self.problems: list[str] = []  # what was passed over, and why
        self._passed: set[str] = set()  # could not be continued
        self._saved_at = time.monotonic()
        self._took = 0.0  # seconds of the last save

    def save(self, epoch: int, metrics: dict[str, float], save: Callable[[Path], None]) -> None:
        """Write a checkpoint; a reader sees all of it or none. Keeps the one before.

        Raises OSError if it cannot be written; the one before stays.
        """
        started = time.monotonic()
        name = name_of(epoch)
        try:
            self.folder.write(name, metrics, save)
            self._passed.discard(name)
            self.keep(WHILE_RUNNING)
        finally:
            self._saved_at = time.monotonic()
            self._took = self._saved_at - started

    def adopt(self, donor: CheckpointStore, epoch: int) -> None:
        """Take the donor's checkpoint of ``epoch`` instead of all others; no process may run.

        Raises OSError if the donor has none or there is no room; this store stays as it was.
        """
        name, old = name_of(epoch), self.folder.names()
        try:
            match self.folder, donor.folder:
                case (LocalFolder() as own, LocalFolder() as other):
                    own.copy_from(other, name)
                case (RemoteFolder() as own, RemoteFolder() as other):
                    own.copy_from(other, name)
        except DamagedError as error:
            raise OSError(str(error)) from None
        for known in old:
            if known != name:
                self.folder.remove(known)

    def due(self) -> bool:
        """Whether a checkpoint now would cost at most a twentieth of the training time."""
        since = time.monotonic() - self._saved_at
        return since >= max(SHORTEST_INTERVAL, self._took / SHARE)

    def newest_first(self) -> Generator[Checkpoint]:
        """Each checkpoint that is as it was written.

        The folder may be gone when the next one is asked for. Raises OSError if an object store
        cannot be read: a fresh start would then cost more than a retry.
        """
        for name in reversed(self.folder.names()):
            with contextlib.ExitStack() as stack:
                try:
                    checkpoint = stack.enter_context(self.folder.fetched(name))
                except DamagedError as error:
                    self.pass_over(name, str(error))
                    continue
                yield checkpoint

    @contextlib.contextmanager
    def newest(self) -> Iterator[Path]:
        """The folder of the last good checkpoint while the context lasts. Raises OSError."""
        with contextlib.closing(self.newest_first()) as walk:
            found = next(walk, None)
            if found is None:
                raise OSError(f"no checkpoint that can be read in {self.directory}")
            yield found.folder

    def pass_over(self, name: str, reason: str) -> None:
        """Note that a checkpoint cannot be continued; it goes when the next one is written."""
        self._passed.add(name)
        self.problems.append(f"its checkpoint {name} was passed over: {reason}")
        logger.warning("checkpoint %s/%s passed over: %s", self.directory.name, name, reason)

    def keep(self, count: int) -> None:
        """Remove all but the ``count`` newest that can be continued."""
        names = self.folder.names()
        good = [name for name in names if name not in self._passed]
        kept = good[len(good) - count :] if count else []
        for name in names:
            if name not in kept:
                self.folder.remove(name)
        self._passed.clear()

    def sweep(self) -> None:
        """Remove what a process that died left half written; for the start of the next one."""
        self.folder.sweep()


def name_of(epoch: int) -> str:
    """The folder of an epoch's checkpoint."""
    return f"{PREFIX}{epoch:06d}"
