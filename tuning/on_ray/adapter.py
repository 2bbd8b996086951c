"""The two objects that Ray Tune needs; both hand on to :class:`tuning.search.search.Search`.

`RaySearcher` answers what is next, `RayScheduler` whether a trial goes on. Every start of a trial,
be it new, promoted or after a failure, is one of Ray's trials: Ray never starts one again by itself
(`max_failures=0`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.result import AUTO_RESULT_KEYS
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from tuning.on_ray.closing import Closing
from tuning.on_ray.recovery import Recovery
from tuning.on_ray.trial_keys import (
    DIVERGED,
    FAILED,
    PLACEMENT,
    REFERENCE_LMBDA,
    RESTORED,
    SEED,
    SUSPENDED,
    number_of,
)
from tuning.search.decisions import Idle, Start
from tuning.search.search import Search

RAY_KEYS = frozenset(
    (*AUTO_RESULT_KEYS, "done", "trial_id", "should_checkpoint", "time_total_s", "timestamp")
)


class RaySearcher(Searcher):
    """Gives Ray the trials that the search starts."""

    def __init__(self, search: Search, closing: Closing, recovery: Recovery) -> None:
        objective = search.space.objective
        super().__init__(metric=objective.score, mode=objective.mode)
        self.search, self.closing, self.recovery = search, closing, recovery
        self._given: dict[str, int] = {}  # our number, by Ray's id

    def suggest(self, trial_id: str) -> Any:
        """The flat config of a trial with its number under ``trial``, None, or FINISHED."""
        if self.closing.asked():
            return Searcher.FINISHED
        start = self.search.next()
        if isinstance(start, Idle):
            return None if start is Idle.NOT_NOW else Searcher.FINISHED
        self._given[trial_id] = start.trial
        placement = self.recovery.placement(start.trial)
        return sampled(start) | ({PLACEMENT: placement} if placement else {})

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Nothing: the ledger has it."""

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Ray is done with it."""
        number = self._given.pop(trial_id, None)
        if number is not None:
            self.closing.asked()
            self.search.process_ended(number)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the state."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing: the ledger is the state."""


class RayScheduler(FIFOScheduler):
    """Tells the search what Ray's trials report, and Ray what the search decides."""

    def __init__(self, search: Search, recovery: Recovery) -> None:
        super().__init__()
        self.search, self.recovery = search, recovery

    def on_trial_result(self, controller: Any, trial: Trial, result: Mapping[str, Any]) -> str:
        """Whether the trial goes on."""
        number = number_of(trial)
        if FAILED in result:
            self.search.gave_up(number, str(result[FAILED]), bool(result.get(DIVERGED)))
            return str(TrialScheduler.STOP)
        if SUSPENDED in result:
            self.search.suspended(number)
            return str(TrialScheduler.STOP)
        metrics, before = metrics_of(result), self.search.ledger.trials[number].epochs
        decision = self.search.report(number, metrics, restored=RESTORED in result)
        if RESTORED not in result or metrics["epoch"] > before:
            self.recovery.worked(number)
        return str(TrialScheduler.STOP if decision.ends_process else TrialScheduler.CONTINUE)

    def on_trial_error(self, controller: Any, trial: Trial) -> None:
        """Its process broke: Ray ends this trial of its own, the search decides what follows."""
        super().on_trial_error(controller, trial)
        self.recovery.failed(trial)

    def on_trial_add(self, controller: Any, trial: Trial) -> None:
        """A trial waits for a process."""
        super().on_trial_add(controller, trial)
        self.recovery.added(controller)


def sampled(start: Start) -> dict[str, Any]:
    """The config of one of Ray's trials: our number, the flat config, and a seed if it has one."""
    seed = {} if start.seed is None else {SEED: start.seed}
    lmbda = {} if start.lmbda is None else {REFERENCE_LMBDA: start.lmbda}
    return {"trial": start.trial, **start.params, **seed, **lmbda}


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
