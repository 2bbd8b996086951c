"""What an experiment's events make of it: its trials, its rungs, its scores. No file is touched."""

from __future__ import annotations

import sys
from dataclasses import replace

from tuning.ledger.events import (
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
)
from tuning.ledger.failures import renew
from tuning.ledger.records import SIMULATED, Exploit, RungEntry, TrialRecord
from tuning.ledger.reference_curve import DELTA_RATE, References


class ExperimentState:
    """The trials as they stand after the events so far.

    ``devices``: GPUs (or CPUs if there are none) that one trial holds, for its cost.
    """

    def __init__(self, experiment: str, devices: float = 1.0) -> None:
        self.experiment = experiment
        self.trials: dict[int, TrialRecord] = {}
        self.rungs: dict[int, dict[int, RungEntry]] = {}  # by epoch, by trial: what was decided
        self.drained: list[str] = []  # nodes that were drained, and why; a resume tries them again
        self.failed_in_a_row: list[int] = []  # trials since an epoch was trained, not diverged
        self.reopened: set[int] = set()  # trials that were given another chance after they failed
        self.whole: list[int] = []  # trials of the search that reached the maximum fidelity
        self.count = 0  # events
        self.seconds = 0.0  # wall-clock time of all sessions so far
        self.references: References | None = None  # if trials are judged by a reference curve
        self.opened: Opened | None = None  # the newest session's first event
        self.closed: Closed | None = None  # and its last; None: it runs, or was killed
        self._devices = devices
        self._records: list[TrialRecord] = []  # by number, or empty: not known yet
        self._since: float | None = None  # time up to which the session being read is counted

    def records(self) -> list[TrialRecord]:
        """The trials of the search by number, without reference runs and runs that confirm."""
        if not self._records:
            trials = (self.trials[number] for number in sorted(self.trials))
            self._records = [trial for trial in trials if trial.role == "search"]
        return list(self._records)

    @property
    def simulated(self) -> str:
        """The source of curves that its trials did not train on; empty if they trained."""
        return str(self.opened.facts.get(SIMULATED, "")) if self.opened else ""

    def confirmations(self) -> list[TrialRecord]:
        """The runs of finalists on fresh seeds, by number."""
        return [trial for trial in self.trials.values() if trial.role == "confirm"]

    def reference_runs(self) -> list[TrialRecord]:
        """The runs that make the reference curve, by number."""
        return [trial for trial in self.trials.values() if trial.role == "reference"]

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
                if isinstance(event, Finished) and trial.role == "search":
                    self.whole.append(trial.number)
                if isinstance(event, Failed) and not event.diverged:
                    self.failed_in_a_row.append(trial.number)
                if isinstance(event, Failed) and self.references and trial.role == "reference":
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
        """Put `delta_rate` into every report of an epoch whose reference curve is known now."""
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
