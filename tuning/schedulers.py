"""`scheduler.name` to a Ray scheduler. All are ours: time is a trial's own `epoch`.

Every report of every trial passes :meth:`EpochScheduler.on_trial_result`, which writes it to the
ledger, decides, and writes the decision, in this order. Ray 2.60 keeps no scheduler's state over a
restart; these read theirs from the ledger.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray import cloudpickle
from ray.exceptions import RayActorError
from ray.tune.experiment import Trial
from ray.tune.result import AUTO_RESULT_KEYS
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from tuning.ledger import Ledger
from tuning.promotion import PromotionTable
from tuning.records import Entry, TrialRecord
from tuning.rungs import RungTable
from tuning.scheduler_sections import Asha, Fifo, Promote
from tuning.space import SearchSpace

#: Keys with which a trial says more than metrics; see :mod:`tuning.trainable`.
FAILED, DIVERGED, SUSPENDED, RESTORED = "failed", "diverged", "suspended", "restored"
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
        metrics = metrics_of(result)
        epoch, before = int(metrics["epoch"]), record.epochs
        if not (RESTORED in result and epoch <= before):  # else it was reported before a restart
            self.ledger.append("report", number, metrics=metrics)
        due = epoch in self.rungs
        problem = self._problem(metrics, epoch, due)
        if problem:
            diverged = self.metric_name in metrics
            return self._end(record, "failed", reason=problem, diverged=diverged)
        if epoch >= self.rungs[-1]:
            return self._end(record, "finished")
        if self.metric_name not in metrics:
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
        return False

    def give_up(self) -> None:
        """Nothing more will be promoted."""

    def on_trial_error(self, controller: Any, trial: Trial) -> None:
        """Note a crash: Ray starts the trial again, from its checkpoint, or has given it up."""
        super().on_trial_error(controller, trial)
        record = self.ledger.trials[int(trial.config["trial"])]
        reason = crash_text(trial)
        if trial.should_recover():
            self.ledger.append("retried", record.number, reason=reason)
        else:
            times = trial.run_metadata.num_failures
            again = f"crashed {times} times, at last: " if times > 1 else "crashed: "
            self.ledger.append("failed", record.number, reason=again + reason)

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


class RungScheduler(EpochScheduler, ABC):
    """What the schedulers with rungs share: a trial that crosses one enters the table."""

    table: RungTable

    def decide(self, record: TrialRecord, before: int, epoch: int, score: float) -> str:
        """Enter the highest rung that was crossed, and do what the table says."""
        level = self.table.crossed(min(before, epoch - 1), epoch)
        if level is None:
            return str(TrialScheduler.CONTINUE)
        entry = self.table.enter(level, record.number, score)
        if entry.keeps:
            return str(TrialScheduler.CONTINUE)
        return self.lose(record, level, reason_of(entry))

    def settle(self) -> None:
        """Carry out what a driver had decided that died before it wrote the trial's fate."""
        for record in self.ledger.records():
            level = self.table.waits_at(record.number)
            if level is not None and not record.ended and not record.paused:
                entry = self.table.rungs[level].entries[record.number]
                self.lose(record, level, reason_of(entry))

    @abstractmethod
    def lose(self, record: TrialRecord, level: int, reason: str) -> str:
        """What becomes of a trial that does not go on from a rung."""


class AshaScheduler(RungScheduler):
    """`asha`: a trial goes on from a rung where it is among the best ``1 / reduction_factor``.

    The prior, trial 0, goes on always: every comparison needs it at the maximum fidelity.
    """

    def __init__(self, space: SearchSpace, ledger: Ledger, section: Asha) -> None:
        super().__init__(space, ledger)
        self.table = RungTable(ledger, self.rungs[:-1], section.reduction_factor)

    def lose(self, record: TrialRecord, level: int, reason: str) -> str:
        """Stopped for good."""
        return self._end(record, "stopped", rung=level, reason=reason)


class PromoteScheduler(RungScheduler):
    """`promote`: a trial waits at a rung until it is among the best ``1 / reduction_factor`` there.

    Waiting takes no device: Ray's trial ends, and the searcher starts the same trial again, from
    its checkpoint, when :meth:`promote` names it.
    """

    table: PromotionTable

    def __init__(self, space: SearchSpace, ledger: Ledger, section: Promote) -> None:
        super().__init__(space, ledger)
        self.table = PromotionTable(
            ledger,
            self.rungs[:-1],
            section.reduction_factor,
            control=section.control,
            seed=section.seed,
        )

    def lose(self, record: TrialRecord, level: int, reason: str) -> str:
        """Not now: it waits."""
        return self._end(record, "paused", reason=f"{reason} at epoch {level}")

    def promote(self) -> int | None:
        """The trial to continue now; it is known as promoted when this returns."""
        taken = self.table.promote()
        if taken is None:
            return None
        _, entry = taken
        return entry.trial

    def waits(self, number: int) -> bool:
        """Whether the trial waits at a rung."""
        return self.table.waits_at(number) is not None

    def give_up(self) -> None:
        """The search is over: what still waits is stopped where it is."""
        for record in self.ledger.records():
            level = self.table.waits_at(record.number)
            if record.paused and level is not None:
                self._end(record, "stopped", rung=level, reason=record.reason)


def build_scheduler(space: SearchSpace, ledger: Ledger) -> EpochScheduler:
    """The scheduler that the space names, its state that of the ledger."""
    match space.scheduler:
        case Asha() as section:
            found: RungScheduler = AshaScheduler(space, ledger, section)
        case Promote() as section:
            found = PromoteScheduler(space, ledger, section)
        case Fifo():
            return EpochScheduler(space, ledger)
    found.settle()
    return found


def reason_of(entry: Entry) -> str:
    """Why a trial does not go on from a rung."""
    return f"rank {entry.rank} of {entry.peers}"


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


def crash_text(trial: Trial) -> str:
    """One line on why the trial's process failed."""
    path = trial.pickled_error_file  # written a moment ago, by this process
    error = cloudpickle.loads(Path(path).read_bytes()) if path else None
    cause = getattr(error, "cause", None) or error
    if isinstance(cause, RayActorError):
        return "its process died (killed, out of memory, or its node was lost)"
    if cause is None:
        return f"Ray could not run it, see {trial.error_file}"
    text = " ".join(str(cause).split())
    return f"{type(cause).__name__}: {text}"[:300]
