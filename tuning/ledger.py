"""The append-only record of an experiment, and the one source of truth about its trials.

``ledger.jsonl`` holds one JSON object a line: what was proposed, reported and decided, and how each
trial ended. Ray's own files are a cache beside it. Every line reaches the operating system before
the next step is taken, so a killed driver loses nothing; all but reports are also synced to the
disk, and a sync carries the reports before it. A last line cut short by a crash is dropped at the
next start.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from hpcm.schema import ConfigError, shown
from tuning.failures import renew
from tuning.records import Entry, Exploit, TrialRecord
from tuning.redaction import redacted

LEDGER_FILE = "ledger.jsonl"
ENDINGS = ("finished", "stopped", "failed")
CLOCK_JUMP = 60.0  # seconds by which the clock must leave a steady one to have been set


class Ledger:
    """The ledger of one experiment, written by its one driver, and its trials as they stand.

    ``devices``: GPUs (or CPUs where there are none) that one trial holds, for its cost.
    """

    def __init__(self, directory: Path, devices: float = 1.0) -> None:
        self.path = directory / LEDGER_FILE
        self.experiment = directory.name
        self.trials: dict[int, TrialRecord] = {}
        self.rungs: dict[int, dict[int, Entry]] = {}  # by epoch, by trial: what was decided there
        self.count = 0  # events
        self.seconds = 0.0  # wall-clock time of all sessions so far
        self.listeners: list[Callable[[TrialRecord], None]] = []  # hear a trial after its event
        self._devices = devices
        self._records: list[TrialRecord] = []  # by number, or empty: not known yet
        self._opened: float | None = None  # time at which the session being read was opened
        self._file: BinaryIO | None = None
        self._ahead = 0.0  # seconds that the clock is ahead of a steady one
        self.read_on()

    def read_on(self) -> None:
        """Apply the lines that the file has beyond those known.

        Raises :class:`ConfigError` for a line that is damaged or does not follow from those before.
        """
        for event in read_events(self.path.parent, skip=self.count):
            try:
                self._apply(event)
            except (AttributeError, KeyError, TypeError):
                raise damaged(self.path, self.count, json.dumps(event)) from None

    def open(self, **fields: Any) -> None:
        """Start a session: cut a torn last line, and note that no trial runs any more."""
        cut_torn_line(self.path)
        self._file = self.path.open("ab")
        self._ahead = time.time() - time.monotonic()
        self.append("opened", **fields)

    def append(
        self, event: str, trial: int | None = None, *, sync: bool = True, **fields: Any
    ) -> None:
        """Write one event and apply it to the trials. Fields must be plain data.

        ``sync=False``: another event follows at once, and its sync carries this one.
        What went wrong is told in others' words, which may hold a password: those are hidden.
        """
        assert self._file is not None, "the ledger is not open for writing"
        self._note_clock()
        fields |= {key: redacted(fields[key]) for key in ("reason", "error") if fields.get(key)}
        line: dict[str, Any] = {"event": event, "time": round(time.time(), 3)}
        if trial is not None:
            line["trial"] = trial
        line |= fields
        self._write(line)
        if sync and event != "report":
            os.fsync(self._file.fileno())
        self._apply(line)
        if trial is not None:
            for listen in self.listeners:
                listen(self.trials[trial])

    def close(self, **fields: Any) -> None:
        """End the session."""
        if self._file is not None:
            self.append("closed", **fields)
            self._file.close()
            self._file = None

    def records(self) -> list[TrialRecord]:
        """The trials by number."""
        if not self._records:
            self._records = [self.trials[number] for number in sorted(self.trials)]
        return list(self._records)

    def _write(self, line: dict[str, Any]) -> None:
        assert self._file is not None
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()

    def _note_clock(self) -> None:
        """A line of its own where the clock was set, or hours of the budget would be miscounted."""
        now, steady = time.time(), time.monotonic()
        jumped, self._ahead = now - steady - self._ahead, now - steady
        if abs(jumped) > CLOCK_JUMP:
            line = {"event": "clock", "time": round(now, 3), "jumped": round(jumped, 3)}
            self._write(line)
            self._apply(line)

    def _apply(self, line: dict[str, Any]) -> None:
        self.count += 1
        if self._opened is not None and line["event"] == "clock":
            self._opened += line["jumped"]
        if self._opened is not None and line["event"] != "opened":
            self.seconds += max(0.0, line["time"] - self._opened)
            self._opened = line["time"]
        match line["event"]:
            case "opened":
                self._opened = line["time"]
                for trial in self.trials.values():
                    if trial.state == "running":
                        trial.state = "pending"
            case "closed":
                self._opened = None
            case "proposed":
                number = line["trial"]
                self._records = []
                self.trials[number] = TrialRecord(
                    id=f"{self.experiment}-{number:04d}",
                    number=number,
                    params=line["params"],
                    source=line.get("source", ""),
                )
            case event if "trial" in line:
                self._apply_to(self.trials[line["trial"]], event, line)

    def _apply_to(self, trial: TrialRecord, event: str, line: dict[str, Any]) -> None:
        if event == "report":
            metrics = line["metrics"]
            while trial.reports and trial.reports[-1]["epoch"] >= metrics["epoch"]:
                trial.reports.pop()  # repeated after a crash
            trial.reports.append(metrics)
            seconds = metrics.get("train/seconds", 0.0)
            trial.seconds += seconds
            devices = max(1.0, self._devices) if trial.alone else self._devices
            trial.cost_hours += seconds * devices / 3600
            if metrics["epoch"] > trial.furthest:
                trial.furthest = int(metrics["epoch"])
                renew(trial.failures)
        elif event == "started":
            trial.state, trial.paused = "running", False
        elif event == "paused":
            trial.state, trial.paused, trial.reason = "pending", True, line["reason"]
        elif event == "decision":
            self.rungs.setdefault(line["epoch"], {})[trial.number] = Entry.of(line)
        elif event == "promoted":
            there = self.rungs[line["epoch"]]
            entry, rank, peers = there[trial.number], line["rank"], line["peers"]
            there[trial.number] = replace(entry, keeps=True, rank=rank, peers=peers)
            trial.state, trial.paused = "pending", False
            trial.rung_stopped_at, trial.reason = None, None
        elif event == "exploited":
            epoch, donor, params = line["epoch"], line["donor"], line["params"]
            trial.exploits.append(Exploit(epoch, donor, params, before=trial.params))
            trial.params = params
        elif event in ("suspended", "reopened"):
            trial.state, trial.rung_stopped_at, trial.reason = "pending", None, None
        elif event == "retried":
            trial.state = "pending"
            trial.retries += 1
            kind = line.get("kind", "exception")
            trial.failures[kind] = trial.failures.get(kind, 0) + 1
            trial.reason = line["reason"]
        elif event in ENDINGS:
            trial.paused = False
            trial.state = event  # type: ignore[assignment]
            trial.reason = line.get("reason")
            trial.rung_stopped_at = line.get("rung")
            trial.diverged = bool(line.get("diverged"))


def read_events(directory: Path, skip: int = 0) -> Iterator[dict[str, Any]]:
    """Every whole line of an experiment's ledger after ``skip``; nothing where there is none.

    Raises :class:`ConfigError` for a damaged line that is not the last.
    """
    path = directory / LEDGER_FILE
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    *lines, _torn = content.split(b"\n")
    for number, line in enumerate(lines[skip:], start=skip + 1):
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if not isinstance(event, dict):
            raise damaged(path, number, line.decode(errors="backslashreplace"))
        yield event


def damaged(path: Path, number: int, line: str) -> ConfigError:
    """The refusal of a ledger: what it decided is not guessed."""
    return ConfigError(f"{path}: line {number} is damaged: {shown(repr(line), most=80)}")


def read_trials(directory: Path, devices: float = 1.0) -> list[TrialRecord]:
    """The trials of an experiment as its ledger has them, without touching it."""
    return Ledger(directory, devices).records()


def cut_torn_line(path: Path) -> None:
    """Drop what follows the last newline: an event that was cut short did not happen."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            file.truncate(whole)
            os.fsync(file.fileno())
