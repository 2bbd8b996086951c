"""What all schedulers share: they compare trials at equal epochs, not by the clock.

A scheduler decides on every report once it is in the ledger, and writes what it decides there
before that takes effect. It keeps no state of its own, so a resumed search decides as one that was
never killed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from hpcm.schema import config_class
from tuning.ledger.events import Failed, Finished, Paused, Stopped
from tuning.ledger.ledger import Ledger
from tuning.ledger.records import TrialRecord
from tuning.search.decisions import Decision, Notify, silent
from tuning.spaces.documents import Problem
from tuning.spaces.scheduler_section import SchedulerSection
from tuning.spaces.space import SearchSpace

WAITS_FOR_REFERENCES = "waits for the reference runs"  # begins the reason of such a pause


@config_class
class Fifo(SchedulerSection):
    """Every trial trains to the maximum fidelity."""

    name: Literal["fifo"] = "fifo"

    def build(self, space: SearchSpace, ledger: Ledger, copy: Any) -> EpochScheduler:
        """It compares nothing."""
        return EpochScheduler(space, ledger)

    def problems(self, space: SearchSpace) -> Iterator[Problem]:
        """A first rung is given, and there is none."""
        fidelity = space.fidelity
        if fidelity.min != type(fidelity)().min:
            yield "fidelity.min", f"{fidelity.min}, but fifo has no rungs; leave it out"


class EpochScheduler:
    """`fifo`: every trial trains to the maximum fidelity. The others add :meth:`decide`.

    A trial that reports a number that is not finite, or lacks one that is due, ends as failed.
    """

    def __init__(self, space: SearchSpace, ledger: Ledger) -> None:
        self.space = space
        self.ledger = ledger
        self.rungs = space.rungs()
        self.metric_name = space.objective.score
        self.sign = space.objective.sign
        self.notify: Notify = silent  # hears what a person should know

    def reconcile(self) -> None:
        """Carry out what follows from a report whose driver died before it had done so.

        Called once, before anything is proposed. So a trial that was to stop, to wait or to finish
        is not started again, and is compared with those that were compared with it, not with those
        that came in the meantime.
        """
        for record in self.ledger.trials.values():
            if record.reports and not (record.ended or record.paused):
                self.conclude(record, record.last, record.epochs)

    def conclude(self, record: TrialRecord, metrics: Mapping[str, float], before: int) -> Decision:
        """What follows from a report in the ledger; ``before``: the epoch of the one before it."""
        epoch = int(metrics["epoch"])
        problem = self._problem(metrics, epoch, due=epoch in self.rungs)
        if problem:
            diverged = any(name in metrics for name in self.space.compared)
            return self.fail(record, problem, diverged)
        if epoch >= self.rungs[-1]:
            self.ledger.append(Finished(record.number))
            return Decision.FINISH
        if record.role != "search" or any(name not in metrics for name in self.space.compared):
            return Decision.GO_ON  # only trials of the search are compared
        if self.ledger.references is not None:
            return self._at_equal_quality(record, before, epoch)
        return self.decide(record, before, epoch, self.sign * metrics[self.metric_name])

    def _at_equal_quality(self, record: TrialRecord, before: int, epoch: int) -> Decision:
        """Decide by the reference curve; a trial that is ahead of it at a rung waits."""
        assert self.ledger.references is not None
        curve = self.ledger.references.curve(epoch)
        if curve is None:
            if epoch in self.rungs:
                return self.wait(record, f"{WAITS_FOR_REFERENCES} at epoch {epoch}")
            return Decision.GO_ON
        if not curve.defined:
            return Decision.GO_ON
        score = record.last.get(self.metric_name, math.inf)  # beyond the curve: it ranks last
        return self.decide(record, before, epoch, self.sign * score)

    def released(self) -> int | None:
        """Decide again on trials that waited for the reference runs; the first that goes on.

        Others may be stopped by this call, or wait at the rung.
        """
        if self.ledger.references is None:  # this is asked before every start
            return None
        for record in self.ledger.records():
            if self._may_be_released(record):
                decision = self.conclude(record, record.last, record.epochs - 1)
                if decision is Decision.GO_ON:
                    return record.number
        return None

    def _may_be_released(self, record: TrialRecord) -> bool:
        references = self.ledger.references
        return (
            references is not None
            and record.paused
            and self.waits_for_references(record)
            and references.curve(record.epochs) is not None
        )

    def waits_for_references(self, record: TrialRecord) -> bool:
        """Whether what the trial waits for is the reference runs."""
        return (record.reason or "").startswith(WAITS_FOR_REFERENCES)

    def decide(self, record: TrialRecord, before: int, epoch: int, score: float) -> Decision:
        """Whether a healthy trial goes on; ``before`` is the epoch of its last report."""
        return Decision.GO_ON

    def promote(self) -> int | None:
        """A trial that waited and may go on now."""
        return None

    def give_up(self) -> None:
        """Nothing more will be promoted."""

    def fail(self, record: TrialRecord, reason: str, diverged: bool = False) -> Decision:
        """End the trial without a result."""
        self.ledger.append(Failed(record.number, reason, diverged))
        return Decision.FAIL

    def stop(self, record: TrialRecord, level: int, reason: str) -> Decision:
        """End the trial at a rung."""
        self.ledger.append(Stopped(record.number, reason, level))
        return Decision.STOP

    def wait(self, record: TrialRecord, reason: str) -> Decision:
        """Let the trial wait, without a device."""
        self.ledger.append(Paused(record.number, reason))
        return Decision.WAIT

    def _problem(self, metrics: Mapping[str, float], epoch: int, due: bool) -> str | None:
        for name in self.space.compared:
            value = metrics.get(name)
            if value is None and due:
                return f"epoch {epoch} has no {name}, which is compared there"
            if value is not None and not math.isfinite(value):
                return f"{name} is {value} at epoch {epoch}"
        return None
