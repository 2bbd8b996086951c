"""What all schedulers share: time is a trial's own `epoch`, and everything is in the ledger.

Every report of every trial passes :meth:`EpochScheduler.on_trial_result`, which writes it to the
ledger, decides, and writes the decision, in this order. Ray 2.60 keeps no scheduler's state over a
restart; these read theirs from the ledger.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.result import AUTO_RESULT_KEYS
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from tuning.faults.recovery import Recovery
from tuning.ledger import Ledger
from tuning.records import TrialRecord
from tuning.spaces.space import SearchSpace
from tuning.trial_keys import DIVERGED, FAILED, RESTORED, SUSPENDED

RAY_KEYS = frozenset(
    (*AUTO_RESULT_KEYS, "done", "trial_id", "should_checkpoint", "time_total_s", "timestamp")
)


class EpochScheduler(FIFOScheduler):
    """`fifo`: every trial trains to the maximum fidelity. The others add :meth:`decide`.

    A trial that reports a number that is not finite, or no number where one is due, ends as failed.
    """

    def __init__(self, space: SearchSpace, ledger: Ledger) -> None:
        super().__init__()
        self.space = space
        self.ledger = ledger
        self.recovery = Recovery(space, ledger)
        self.rungs = space.rungs()
        self.metric_name = space.objective.metric
        self.sign = 1.0 if space.objective.mode == "min" else -1.0

    def on_trial_result(self, controller: Any, trial: Trial, result: Mapping[str, Any]) -> str:
        """Keep the ledger, and say whether the trial goes on."""
        number = int(trial.config["trial"])
        record = self.ledger.trials[number]
        if FAILED in result:
            diverged = bool(result.get(DIVERGED))
            return self._end(record, "failed", reason=str(result[FAILED]), diverged=diverged)
        if SUSPENDED in result:
            return self._end(record, "suspended")
        metrics, before = metrics_of(result), record.epochs
        if not (RESTORED in result and metrics["epoch"] <= before):  # else reported before
            self.ledger.append("report", number, metrics=metrics)
            self.recovery.worked(number)
        return self._conclude(record, metrics, before)

    def reconcile(self) -> None:
        """Carry out what follows from a report whose driver died before it had done so.

        Called once, before anything is proposed. So a trial that was to stop, to wait or to finish
        is not started again, and is compared with those that were compared with it, not with those
        that came in the meantime.
        """
        for record in [*self.ledger.records(), *self.ledger.confirmations()]:
            if record.reports and not (record.ended or record.paused):
                self._conclude(record, record.last, record.epochs)

    def _conclude(self, record: TrialRecord, metrics: Mapping[str, float], before: int) -> str:
        """What follows from a report that is in the ledger."""
        epoch = int(metrics["epoch"])
        due = epoch in self.rungs
        problem = self._problem(metrics, epoch, due)
        if problem:
            diverged = self.metric_name in metrics
            return self._end(record, "failed", reason=problem, diverged=diverged)
        if epoch >= self.rungs[-1]:
            return self._end(record, "finished")
        if self.metric_name not in metrics or record.of is not None:  # a finalist is not compared
            return str(TrialScheduler.CONTINUE)
        return self.decide(record, before, epoch, self.sign * metrics[self.metric_name])

    def decide(self, record: TrialRecord, before: int, epoch: int, score: float) -> str:
        """Whether a healthy trial goes on; ``before`` is the epoch of its last report."""
        return str(TrialScheduler.CONTINUE)

    def promote(self) -> int | None:
        """A trial that waited and may go on now."""
        return None

    def waits(self, number: int) -> bool:
        """Whether an unfinished trial waits to be promoted."""
        return self.ledger.trials[number].paused

    def give_up(self) -> None:
        """Nothing more will be promoted."""

    def on_trial_error(self, controller: Any, trial: Trial) -> None:
        """Its process broke; next, where Ray would start it again, comes :meth:`on_trial_add`."""
        super().on_trial_error(controller, trial)
        self.recovery.failed(trial)

    def on_trial_add(self, controller: Any, trial: Trial) -> None:
        """A trial waits for a process, be it the first or another one after a failure."""
        super().on_trial_add(controller, trial)
        self.recovery.place(controller, trial)

    def _problem(self, metrics: Mapping[str, float], epoch: int, due: bool) -> str | None:
        value = metrics.get(self.metric_name)
        if value is None:
            return (
                f"epoch {epoch} has no {self.metric_name}, which is compared there" if due else None
            )
        return None if math.isfinite(value) else f"{self.metric_name} is {value} at epoch {epoch}"

    def _end(self, record: TrialRecord, event: str, **fields: Any) -> str:
        self.ledger.append(event, record.number, **fields)
        return str(TrialScheduler.STOP)


def metrics_of(result: Mapping[str, Any]) -> dict[str, float]:
    """What the trial itself reported: numbers, without those that Ray adds."""
    return {
        key: float(value)
        for key, value in result.items()
        if key not in RAY_KEYS
        and key != RESTORED
        and not key.startswith("config/")
        and isinstance(value, int | float)
        and not isinstance(value, bool)
    }
