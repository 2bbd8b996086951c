"""Trials that hang: noticed by their silence, measured in the time that epochs take here.

Ray acts on a trial only when it reports or dies, so one that does neither keeps its device for
ever. The watchdog kills the process of such a trial; for Ray and for ``recovery.py`` that is
a failure like any other, of the class `hung`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial

from tuning.ledger.ledger import Ledger
from tuning.on_ray.recovery import Recovery
from tuning.on_ray.trial_keys import RESTORED, number_of
from tuning.spaces.sections import Faults
from tuning.spaces.wording import clock_text

EVERY = 5.0  # seconds between two looks
LOOK_AT_WAITING = 60.0  # seconds between two looks at trials that wait for a node
DRIVER_WAS_BUSY = 60.0  # seconds without a step or report after which nothing was listened to
FIRST_EPOCH = 24 * 3600.0  # seconds that a first epoch may take while none has been measured
START = 1800.0  # seconds that a process may take to start: its imports may come over a network


@dataclass
class Silence:
    """A running trial: when it was heard last, and its longest time between two reports."""

    since: float
    longest: float = 0.0
    validated: bool = False  # whether one of these reports came with a validation


@dataclass
class Start:
    """A process that Ray starts for a waiting trial, since when."""

    actor: Any
    since: float


class Watchdog(tune.Callback):
    """Kills the process of a trial that is silent for ``hang_after`` times as long as an epoch.

    An epoch's time is the longest between two reports of this trial, validation and checkpoint
    included, or of any other while this one has not validated. ``hang_minutes`` are always allowed,
    and a day while nobody has validated. A process that does not even start, as one that waits for
    a disk, is killed after ``START`` or ``hang_minutes``, whichever is longer. ``recovery`` hears
    of it first, and of the start of every process; and it is asked to look again at trials that
    wait for a node.
    """

    def __init__(
        self,
        faults: Faults,
        ledger: Ledger,
        recovery: Recovery,
        *,
        clock: Callable[[], float] = time.monotonic,
        kill: Callable[[Any], None] = ray.kill,
    ) -> None:
        self._faults, self._recovery, self._clock, self._kill = faults, recovery, clock, kill
        self._silent: dict[str, Silence] = {}  # by Ray's trial id
        self._starts: dict[str, Start] = {}  # by Ray's trial id
        before = [report for trial in ledger.records() for report in trial.reports]
        # Of all trials, those of earlier sessions included:
        self._longest = max((report.get("train/seconds", 0.0) for report in before), default=0.0)
        self._validated = any(map(has_validation, before))
        self._looked = self._asked = self._heard = clock()

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Its process is there."""
        self._silent[trial.trial_id] = Silence(self._clock())
        self._recovery.started(trial)

    def on_trial_result(
        self,
        iteration: int,
        trials: list[Trial],
        trial: Trial,
        result: dict[str, Any],
        **info: Any,
    ) -> None:
        """It was heard."""
        now = self._listen()
        silence = self._silent.setdefault(trial.trial_id, Silence(now))
        if RESTORED not in result:  # else no epoch was trained for it
            silence.longest = max(silence.longest, now - silence.since)
            self._longest = max(self._longest, silence.longest)
            silence.validated = silence.validated or has_validation(result)
            self._validated = self._validated or silence.validated
        silence.since = now

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Ray steps about ten times a second, whether something happened or not."""
        now = self._listen()
        if now - self._looked >= EVERY:
            self._looked = now
            self._look(trials, now)
            self._look_at_starts(trials, now)
        if now - self._asked >= LOOK_AT_WAITING:
            self._asked = now
            self._recovery.look_again(trials)

    def limit(self, trial: str) -> float:
        """Seconds for which a running trial, by Ray's id, may be silent."""
        if self._faults.hang_after is None:
            return float("inf")
        silence = self._silent[trial]
        epoch = silence.longest if silence.validated else max(silence.longest, self._longest)
        allowed = self._faults.hang_after * epoch if epoch and self._validated else FIRST_EPOCH
        return max(allowed, 60.0 * self._faults.hang_minutes)

    def start_limit(self) -> float:
        """Seconds that the start of a process may take."""
        if self._faults.hang_after is None:
            return float("inf")
        return max(START, 60.0 * self._faults.hang_minutes)

    def _listen(self) -> float:
        """The time; a gap before it, in which reports had to wait, is no trial's silence."""
        now = self._clock()
        gap, self._heard = now - self._heard, now
        if gap > DRIVER_WAS_BUSY:
            waits: list[Silence | Start] = [*self._silent.values(), *self._starts.values()]
            for wait in waits:
                wait.since = min(wait.since + gap, now)
        return now

    def _look(self, trials: list[Trial], now: float) -> None:
        running = {trial.trial_id: trial for trial in trials if trial.status == Trial.RUNNING}
        for key in [key for key in self._silent if key not in running]:
            del self._silent[key]
        for key, silence in self._silent.items():
            if now - silence.since > self.limit(key):
                self._silent_too_long(running[key], now - silence.since)
                silence.since = now  # once is enough, unless it lives on

    def _look_at_starts(self, trials: list[Trial], now: float) -> None:
        before, self._starts = self._starts, {}
        for trial in trials:
            actor = self._recovery.starting(trial)
            if actor is None:
                continue
            start = before.get(trial.trial_id)
            if start is None or start.actor is not actor:
                start = Start(actor, now)
            self._starts[trial.trial_id] = start
            waits = now - start.since
            if waits > self.start_limit():
                self._end(trial, actor, f"its process did not start in {clock_text(waits)}")
                start.since = now

    def _silent_too_long(self, trial: Trial, silent: float) -> None:
        actor = trial.temporary_state.ray_actor
        if actor is not None:
            self._end(trial, actor, f"no report for {clock_text(silent)}")

    def _end(self, trial: Trial, actor: Any, why: str) -> None:
        self._recovery.hung(number_of(trial), f"hung: {why}")
        self._kill(actor)


def has_validation(report: Mapping[str, Any]) -> bool:
    """Whether the epoch ended with a validation, which may take longer than its training."""
    return any(name.startswith("val_") for name in report)
