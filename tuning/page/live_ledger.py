"""A ledger that another process writes, followed line by line, with what led to its trials.

Records say how the trials stand; kept here are the decisions at each rung, where a proposal came
from, and when things happened.
"""

from __future__ import annotations

from pathlib import Path

from tuning.ledger.events import Event, OfTrial, Opened, Promoted, Report, RungDecision
from tuning.ledger.ledger import Ledger


class LiveLedger(Ledger):
    """The trials as they stand; :meth:`read_on` takes in what is new. It never writes."""

    def __init__(self, directory: Path, devices: float = 1.0) -> None:
        self.sessions = 0
        self.latest = 0.0  # time of the newest line, seconds since 1970
        self.decisions: dict[int, dict[int, RungDecision]] = {}  # by rung, by trial
        self.promoted: dict[int, set[int]] = {}  # by rung: trials that waited there before
        self.history: dict[int, list[OfTrial]] = {}  # by trial: its events without reports
        self.timeline: list[tuple[float, int, int]] = []  # a report each: hours, trial, epoch
        self._hours = 0.0  # device-hours of all reports so far
        super().__init__(directory, devices)

    def _apply(self, event: Event) -> None:
        trial = self.trials.get(event.trial) if isinstance(event, Report) else None
        before = trial.cost_hours if trial is not None else 0.0
        super()._apply(event)
        if trial is not None:
            self._hours += trial.cost_hours - before
            self.timeline.append((self._hours, trial.number, int(trial.last["epoch"])))
        self.latest = event.time
        if isinstance(event, OfTrial) and not isinstance(event, Report):
            self.history.setdefault(event.trial, []).append(event)
        match event:
            case Opened():
                self.sessions += 1
            case RungDecision():
                self.decisions.setdefault(event.epoch, {})[event.trial] = event
            case Promoted():
                self.promoted.setdefault(event.epoch, set()).add(event.trial)
