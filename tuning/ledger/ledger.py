"""The append-only record of an experiment, and the one source of truth about its trials.

``ledger.jsonl`` holds one event a line (:mod:`tuning.ledger.events`): what was proposed, reported
and decided, and how each trial ended. Ray's own files are a cache beside it. Every line reaches the
operating system before the next step is taken, so a killed driver loses nothing; all but reports
are also synced to the disk, and a sync carries the reports before it. A last line cut short by a
crash is dropped at the next start.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from tuning.ledger.events import (
    FORMAT,
    ClockSet,
    Closed,
    Drained,
    Event,
    Exploited,
    Failed,
    Finished,
    OfTrial,
    Opened,
    Paused,
    Promoted,
    Proposed,
    Reopened,
    Report,
    Retried,
    RungDecision,
    Started,
    Stopped,
    Suspended,
    from_line,
    to_line,
)
from tuning.ledger.failures import renew
from tuning.ledger.lines import Chain, cut_torn_line, damaged, whole_lines
from tuning.ledger.records import Exploit, RungEntry, TrialRecord
from tuning.ledger.redaction import redacted
from tuning.ledger.reference_curve import DELTA_RATE, References

LEDGER_FILE = "ledger.jsonl"
CLOCK_JUMP = 60.0  # seconds by which the clock must leave a steady one to have been set


@dataclass(frozen=True)
class Clock:
    """Where the times of events come from; a simulation has its own."""

    now: Callable[[], float] = time.time  # seconds since 1970
    steady: Callable[[], float] = time.monotonic  # never set, of any origin


class Ledger:
    """The ledger of one experiment, written by its one driver, and its trials as they stand.

    ``devices``: GPUs (or CPUs where there are none) that one trial holds, for its cost.
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
        self.experiment = directory.name
        self.trials: dict[int, TrialRecord] = {}
        self.rungs: dict[int, dict[int, RungEntry]] = {}  # by epoch, by trial: what was decided
        self.drained: list[str] = []  # nodes that were drained, and why; a resume tries them again
        self.failed_in_a_row: list[int] = []  # trials since an epoch was trained, not diverged
        self.reopened: set[int] = set()  # trials that were given another chance after they failed
        self.count = 0  # events
        self.seconds = 0.0  # wall-clock time of all sessions so far
        self.references: References | None = None  # if trials are judged by a reference curve
        self.opened: Opened | None = None  # the newest session's first event
        self.closed: Closed | None = None  # and its last; None: it runs, or was killed
        self.listeners: list[Callable[[TrialRecord], None]] = []  # hear a trial after its event
        self._clock, self._durable = clock or Clock(), durable
        self._devices = devices
        self._chain = Chain()
        self._records: list[TrialRecord] = []  # by number, or empty: not known yet
        self._since: float | None = None  # time up to which the session being read is counted
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
        What went wrong is said in others' words, which may hold a password: those are hidden.
        """
        assert self._file is not None, "the ledger is not open for writing"
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

    def records(self) -> list[TrialRecord]:
        """The trials of the search by number, without reference runs and runs that confirm."""
        if not self._records:
            trials = (self.trials[number] for number in sorted(self.trials))
            self._records = [trial for trial in trials if trial.role == "search"]
        return list(self._records)

    def confirmations(self) -> list[TrialRecord]:
        """The runs of finalists on fresh seeds, by number."""
        return [trial for trial in self.trials.values() if trial.role == "confirm"]

    def reference_runs(self) -> list[TrialRecord]:
        """The runs that make the reference curve, by number."""
        return [trial for trial in self.trials.values() if trial.role == "reference"]

    def _write(self, event: Event) -> None:
        assert self._file is not None
        written = self._chain.written(to_line(event))
        self._file.write(written)
        self._offset += len(written)
        self._file.flush()

    def _note_clock(self) -> None:
        """An event of its own if the clock was set, or hours of the budget would be miscounted."""
        now, steady = self._clock.now(), self._clock.steady()
        jumped, self._ahead = now - steady - self._ahead, now - steady
        if abs(jumped) > CLOCK_JUMP:
            event = ClockSet(time=round(now, 3), jumped=round(jumped, 3))
            self._write(event)
            self._apply(event)

    def _apply(self, event: Event) -> None:
        self.count += 1
        if self._since is not None and isinstance(event, ClockSet):
            self._since += event.jumped
        if self._since is not None and not isinstance(event, Opened):
            self.seconds += max(0.0, event.time - self._since)
            self._since = event.time
        match event:
            case Opened():
                self._open_session(event)
            case Closed():
                self._since, self.closed = None, event
            case Drained():
                self.drained.append(f"{event.host} ({event.node[:8]}): {event.reason}")
            case Proposed():
                self._records = []
                self.trials[event.trial] = TrialRecord(
                    id=f"{self.experiment}-{event.trial:04d}",
                    number=event.trial,
                    params=event.params,
                    source=event.source,
                    confirms=event.of,
                    seed=event.seed,
                    lmbda=event.lmbda,
                )
                if event.lmbda is not None and self.references is not None:
                    self.references.lmbdas[event.trial] = event.lmbda
            case OfTrial():
                self._apply_to(self.trials[event.trial], event)

    def _open_session(self, event: Opened) -> None:
        self.opened, self.closed, self._since = event, None, event.time
        self._devices = event.devices or self._devices
        if self.references is None and event.rate is not None and event.quality is not None:
            self.references = References(event.rate, event.quality)
        self.failed_in_a_row.clear()
        for trial in self.trials.values():
            if trial.state == "running":
                trial.state = "pending"

    def _apply_to(self, trial: TrialRecord, event: OfTrial) -> None:
        match event:
            case Report():
                self._report(trial, event)
            case Started():
                trial.state, trial.paused = "running", False
            case Paused():
                trial.state, trial.paused, trial.reason = "pending", True, event.reason
            case RungDecision():
                self.rungs.setdefault(event.epoch, {})[trial.number] = RungEntry.of(event)
            case Promoted():
                there = self.rungs[event.epoch]
                there[trial.number] = replace(
                    there[trial.number], keeps=True, rank=event.rank, peers=event.peers
                )
                trial.reopen()
                trial.paused = False
            case Exploited():
                copied = Exploit(event.epoch, event.donor, event.params, before=trial.params)
                trial.exploits.append(copied)
                trial.params = event.params
            case Suspended() | Reopened():
                if trial.state == "failed":
                    self.reopened.add(trial.number)
                    trial.failures.clear()
                    trial.crash = ""
                    if self.references is not None and trial.role == "reference":
                        self.references.reopen(trial.number)
                trial.reopen()
            case Retried():
                trial.retry(event)
            case Finished() | Stopped() | Failed():
                trial.end(event)
                if isinstance(event, Failed) and not event.diverged:
                    self.failed_in_a_row.append(trial.number)
                if isinstance(event, Failed) and trial.role == "reference":
                    assert self.references is not None
                    self.references.fail(trial.number, trial.epochs, event.reason or "it failed")

    def _report(self, trial: TrialRecord, event: Report) -> None:
        # The names of thousands of reports are kept once.
        metrics = {sys.intern(name): value for name, value in event.metrics.items()}
        while trial.reports and trial.reports[-1]["epoch"] >= metrics["epoch"]:
            trial.reports.pop()  # repeated after a crash
        trial.reports.append(metrics)
        seconds = metrics.get("train/seconds", 0.0)
        trial.seconds += seconds
        devices = max(1.0, self._devices) if trial.needs_whole_gpu else self._devices
        trial.cost_hours += seconds * devices / 3600
        if metrics["epoch"] > trial.furthest:
            self.failed_in_a_row.clear()
            trial.furthest = int(metrics["epoch"])
            renew(trial.failures)
            trial.crash = ""
        self._score(trial, metrics)

    def _score(self, trial: TrialRecord, metrics: dict[str, float]) -> None:
        """Put the rate saving into every report of an epoch whose curve is known now."""
        references, epoch = self.references, int(metrics["epoch"])
        if references is None:
            return
        if trial.role != "reference":
            self._score_report(metrics)
            return
        references.report(trial.number, metrics)
        if references.curve(epoch) is not None:
            for other in self.trials.values():
                report = other.report_at(epoch)
                if report is not None and other.role != "reference":
                    self._score_report(report)

    def _score_report(self, report: dict[str, float]) -> None:
        references = self.references
        assert references is not None
        curve = references.curve(int(report["epoch"]))
        rate, quality = report.get(references.rate), report.get(references.quality)
        if curve is None or rate is None or quality is None:
            return
        value = curve.delta_rate(rate, quality)
        if value is None:
            report.pop(DELTA_RATE, None)
        else:
            report[DELTA_RATE] = value


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


def read_trials(directory: Path, devices: float = 1.0) -> list[TrialRecord]:
    """The trials of an experiment as its ledger has them, without touching it."""
    return Ledger(directory, devices).records()
