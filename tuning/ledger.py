"""The append-only record of an experiment, and the one source of truth about its trials.

``ledger.jsonl`` holds one JSON object a line: what was proposed, reported and decided, and how each
trial ended. Ray's own files are a cache beside it. Every line reaches the operating system before
the next step is taken, so a killed driver loses nothing; all but reports are also synced to the
disk, and a sync carries the reports before it. A last line cut short by a crash is dropped at the
next start.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any, BinaryIO

from hpcm.schema import ConfigError, shown
from tuning.faults.failures import renew
from tuning.records import Entry, Exploit, TrialRecord
from tuning.redaction import redacted

LEDGER_FILE = "ledger.jsonl"
ENDINGS = ("finished", "stopped", "failed")
PIECE = 65536  # bytes
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
        self.drained: list[str] = []  # nodes that were drained, and why; a resume tries them again
        self.in_a_row: list[int] = []  # trials that failed since an epoch was trained, not diverged
        self.reopened: set[int] = set()  # trials that were given another chance after they failed
        self.count = 0  # events
        self.seconds = 0.0  # wall-clock time of all sessions so far
        self.listeners: list[Callable[[TrialRecord], None]] = []  # hear a trial after its event
        self._devices = devices
        self._records: list[TrialRecord] = []  # by number, or empty: not known yet
        self._opened: float | None = None  # time at which the session being read was opened
        self._offset = 0  # bytes of the file that are known
        self._file: BinaryIO | None = None
        self._ahead = 0.0  # seconds that the clock is ahead of a steady one
        self.read_on()

    def read_on(self) -> None:
        """Apply the whole lines behind those known, each read from the disk once.

        Raises :class:`ConfigError` for a line that is damaged or does not follow from those before,
        and again at every call.
        """
        for line in whole_lines(self.path, self._offset):
            known = self.count
            try:
                self._apply(json.loads(line))
            except (AttributeError, KeyError, TypeError, ValueError):
                self.count = known
                raise damaged(self.path, known + 1, line) from None
            self._offset += len(line)

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
        """The trials of the search by number; those of :mod:`tuning.confirm` are no part of it."""
        if not self._records:
            trials = (self.trials[number] for number in sorted(self.trials))
            self._records = [trial for trial in trials if trial.of is None]
        return list(self._records)

    def confirmations(self) -> list[TrialRecord]:
        """The runs of finalists on fresh seeds, by number."""
        return [trial for trial in self.trials.values() if trial.of is not None]

    def _write(self, line: dict[str, Any]) -> None:
        assert self._file is not None
        written = json.dumps(line).encode() + b"\n"
        self._file.write(written)
        self._offset += len(written)
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
                self._devices = line.get("devices", self._devices)
                self.in_a_row.clear()
                for trial in self.trials.values():
                    if trial.state == "running":
                        trial.state = "pending"
            case "closed":
                self._opened = None
            case "drained":
                self.drained.append(f"{line['host']} ({line['node'][:8]}): {line['reason']}")
            case "proposed":
                number = line["trial"]
                self._records = []
                self.trials[number] = TrialRecord(
                    id=f"{self.experiment}-{number:04d}",
                    number=number,
                    params=line["params"],
                    source=line.get("source", ""),
                    of=line.get("of"),
                    seed=line.get("seed"),
                )
            case event if "trial" in line:
                self._apply_to(self.trials[line["trial"]], event, line)

    def _apply_to(self, trial: TrialRecord, event: str, line: dict[str, Any]) -> None:
        if event == "report":
            # The names of thousands of reports are kept once.
            metrics = {sys.intern(name): value for name, value in line["metrics"].items()}
            while trial.reports and trial.reports[-1]["epoch"] >= metrics["epoch"]:
                trial.reports.pop()  # repeated after a crash
            trial.reports.append(metrics)
            seconds = metrics.get("train/seconds", 0.0)
            trial.seconds += seconds
            devices = max(1.0, self._devices) if trial.alone else self._devices
            trial.cost_hours += seconds * devices / 3600
            if metrics["epoch"] > trial.furthest:
                self.in_a_row.clear()
                trial.furthest = int(metrics["epoch"])
                renew(trial.failures)
                trial.crash = ""
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
            if trial.state == "failed":
                self.reopened.add(trial.number)
                trial.failures.clear()
                trial.crash = ""
            trial.state, trial.rung_stopped_at, trial.reason = "pending", None, None
        elif event == "retried":
            trial.state = "pending"
            trial.retries += 1
            kind = line.get("kind", "exception")
            trial.failures[kind] = trial.failures.get(kind, 0) + 1
            if kind == "exception":
                trial.crash, trial.crashed_on = line["reason"], line.get("node") or ""
            trial.reason = line["reason"]
        elif event in ENDINGS:
            trial.paused = False
            trial.state = event  # type: ignore[assignment]
            trial.reason = line.get("reason")
            trial.rung_stopped_at = line.get("rung")
            trial.diverged = bool(line.get("diverged"))
            trial.kind = line.get("kind")
            if event == "failed" and not trial.diverged:
                self.in_a_row.append(trial.number)


def read_events(directory: Path) -> Iterator[dict[str, Any]]:
    """Every whole line of an experiment's ledger; nothing where there is none.

    Raises :class:`ConfigError` for a damaged line that is not the last.
    """
    path = directory / LEDGER_FILE
    for number, line in enumerate(whole_lines(path), start=1):
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if not isinstance(event, dict):
            raise damaged(path, number, line)
        yield event


def whole_lines(path: Path, offset: int = 0) -> Iterator[bytes]:
    """The lines from a byte on, one at a time, each with its end; none where there is no file."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        file.seek(offset)
        yield from takewhile(lambda line: line.endswith(b"\n"), file)


def damaged(path: Path, number: int, line: bytes) -> ConfigError:
    """The refusal of a ledger: what it decided is not guessed."""
    text = line.decode(errors="backslashreplace").removesuffix("\n")
    return ConfigError(f"{path}: line {number} is damaged: {shown(repr(text), most=80)}")


def read_trials(directory: Path, devices: float = 1.0) -> list[TrialRecord]:
    """The trials of an experiment as its ledger has them, without touching it."""
    return Ledger(directory, devices).records()


def cut_torn_line(path: Path) -> None:
    """Drop what follows the last newline: an event that was cut short did not happen."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        end = start = file.seek(0, os.SEEK_END)
        whole = 0
        while start and not whole:  # from the end, in pieces: a ledger may have 100s of megabytes
            piece, start = start, max(0, start - PIECE)
            file.seek(start)
            whole = file.read(piece - start).rfind(b"\n") + 1
        if start + whole < end:
            file.truncate(start + whole)
            os.fsync(file.fileno())
