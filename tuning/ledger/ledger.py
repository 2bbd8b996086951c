"""The append-only record of an experiment, and the one source of truth about its trials.

``ledger.jsonl`` holds one event a line (:mod:`tuning.ledger.events`): what was proposed, reported
and decided, and how each trial ended. Ray's own files are only a cache. Every line reaches the
operating system before the next step is taken, so a killed driver loses nothing; all but reports
are also synced to the disk, and a sync carries the reports before it. A last line cut short by a
crash is dropped at the next start.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from tuning.ledger.events import (
    FORMAT,
    ClockSet,
    Closed,
    Event,
    OfTrial,
    Opened,
    Report,
    from_line,
    to_line,
)
from tuning.ledger.lines import Chain, cut_torn_line, damaged, whole_lines
from tuning.ledger.records import TrialRecord
from tuning.ledger.redaction import redacted
from tuning.ledger.state import ExperimentState

LEDGER_FILE = "ledger.jsonl"
CLOCK_JUMP = 60.0  # seconds by which the clock must leave a steady one to have been set


@dataclass(frozen=True)
class Clock:
    """Where the times of events come from; a simulation has its own."""

    now: Callable[[], float] = time.time  # seconds since 1970
    steady: Callable[[], float] = time.monotonic  # never set, of any origin


class Ledger(ExperimentState):
    """The ledger of one experiment, written by its one driver, and its trials as they stand.

    ``devices``: GPUs (or CPUs if there are none) that one trial holds, for its cost.
    ``durable=False``: lines are not synced to the disk, for a simulation.
    """

    def __init__(
        self,
        directory: Path,
        devices: float = 1.0,
        *,
        clock: Clock | None = None,
        durable: bool = True,
    ) -> None:
        self.path = directory / LEDGER_FILE
        super().__init__(directory.name, devices)
        self.listeners: list[Callable[[TrialRecord], None]] = []  # called after each event
        self._clock, self._durable = clock or Clock(), durable
        self._chain = Chain()
        self._offset = 0  # bytes of the file that are known
        self._file: BinaryIO | None = None
        self._ahead = 0.0  # seconds that the clock is ahead of a steady one
        self.read_on()

    @property
    def protected(self) -> bool:
        """Whether a changed line would be seen; the ledgers of earlier versions have no checks."""
        return self._chain.protected

    def read_on(self) -> None:
        """Apply the whole lines behind those known, each read from the disk once.

        Raises :class:`ConfigError` for a line that is damaged or does not follow from those before,
        and again at every call.
        """
        for line in whole_lines(self.path, self._offset):
            known, chain = self.count, (self._chain.value, self._chain.protected)
            try:
                self._apply(from_line(self._chain.read(line)))
            except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
                self.count = known
                self._chain.value, self._chain.protected = chain
                reason = str(error) if isinstance(error, ValueError) else "it does not follow"
                raise damaged(self.path, known + 1, line, reason) from None
            self._offset += len(line)

    def open(self, opened: Opened | None = None) -> None:
        """Start a session: cut a torn last line, and note that no trial runs any more."""
        cut_torn_line(self.path)
        self._file = self.path.open("ab")
        self._ahead = self._clock.now() - self._clock.steady()
        self.append(replace(opened or Opened(), format=FORMAT, experiment=self.experiment))

    def append(self, event: Event, *, sync: bool = True) -> None:
        """Write one event and apply it to the trials.

        ``sync=False``: another event follows at once, and its sync carries this one.
        Reasons quote the texts of others, which may hold a password: passwords are hidden.
        Raises OSError if it cannot be written, or the file is not in its place any more.
        """
        assert self._file is not None, "the ledger is not open for writing"
        self._refuse_unlinked(self._file)
        self._note_clock()
        changes: dict[str, str | float] = {"time": round(self._clock.now(), 3)}
        for name in ("reason", "error"):
            if getattr(event, name, None):
                changes[name] = redacted(getattr(event, name))
        event = dataclasses.replace(event, **changes)  # type: ignore[arg-type]
        self._write(event)
        if sync and self._durable and not isinstance(event, Report):
            os.fsync(self._file.fileno())
        self._apply(event)
        if isinstance(event, OfTrial):
            for listen in self.listeners:
                listen(self.trials[event.trial])

    def close(self, closed: Closed | None = None) -> None:
        """End the session."""
        if self._file is not None:
            self.append(closed or Closed())
            self._file.close()
            self._file = None

    def _refuse_unlinked(self, file: BinaryIO) -> None:
        """Raise OSError if the file has lost its name: nobody could read what is written."""
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(self.path.stat(), os.fstat(file.fileno())):
                return
        raise OSError(f"{self.path} was deleted, moved or replaced while it was written")

    def _write(self, event: Event) -> None:
        assert self._file is not None
        written = self._chain.written(to_line(event))
        self._file.write(written)
        self._offset += len(written)
        self._file.flush()

    def _note_clock(self) -> None:
        """Write an event if the clock was set: hours of the budget would be miscounted."""
        now, steady = self._clock.now(), self._clock.steady()
        jumped, self._ahead = now - steady - self._ahead, now - steady
        if abs(jumped) > CLOCK_JUMP:
            event = ClockSet(time=round(now, 3), jumped=round(jumped, 3))
            self._write(event)
            self._apply(event)


def read_events(directory: Path) -> Iterator[Event]:
    """Every event of an experiment's ledger; nothing if there is none.

    Raises :class:`ConfigError` for a damaged line that is not the last.
    """
    path, chain = directory / LEDGER_FILE, Chain()
    for number, line in enumerate(whole_lines(path), start=1):
        try:
            event = from_line(chain.read(line))
        except ValueError as error:
            raise damaged(path, number, line, str(error)) from None
        yield event


def read_trials(directory: Path) -> list[TrialRecord]:
    """The trials of an experiment as its ledger has them, without touching it."""
    return Ledger(directory).records()
