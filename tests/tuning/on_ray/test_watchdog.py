"""Trials that hang, on a clock that the test moves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.tuning.lr_space import METRIC, open_ledger
from tuning.ledger.events import Proposed, Report
from tuning.on_ray.watchdog import EVERY, FIRST_EPOCH, START, Watchdog
from tuning.spaces.sections import Faults

MINUTE = 60.0


class Play:
    """A watchdog, running trials, and a clock. Ray steps between any two looks."""

    def __init__(self, folder: Path, faults: Faults) -> None:
        self.ledger = open_ledger(folder)
        self.now = 0.0
        self.killed: list[Any] = []
        self.reasons: dict[int, str] = {}
        self.trials: list[Any] = []
        self.again: list[float] = []
        self.starts: dict[str, Any] = {}  # by Ray's trial id: the actor
        recovery: Any = SimpleNamespace(
            started=lambda trial: None,
            starting=lambda trial: self.starts.get(trial.trial_id),
            hung=self.reasons.__setitem__,
            look_again=lambda trials: self.again.append(self.now),
        )
        self.dog = Watchdog(
            faults, self.ledger, recovery, clock=lambda: self.now, kill=self.killed.append
        )

    def start(self, number: int) -> Any:
        trial = SimpleNamespace(
            trial_id=f"ray{number}",
            config={"trial": number},
            status="RUNNING",
            temporary_state=SimpleNamespace(ray_actor=f"actor{number}"),
        )
        self.trials.append(trial)
        self.dog.on_trial_start(0, self.trials, trial)
        return trial

    def report(self, trial: Any, **more: Any) -> None:
        self.dog.on_trial_result(0, self.trials, trial, {"epoch": 1, METRIC: 1.0, **more})

    def wait(self, seconds: float, step: float = EVERY) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + step)
            self.dog.on_step_end(0, self.trials)

    def work(self, minutes: float, *trials: Any) -> None:
        """These report every minute."""
        for _ in range(int(minutes)):
            self.wait(MINUTE)
            for trial in trials:
                self.report(trial)


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Play]:
    found = Play(tmp_path, Faults(hang_after=10, hang_minutes=5))
    yield found
    found.ledger.close()


def test_a_silent_trial_is_killed_and_no_other(play: Play) -> None:
    hangs, works = play.start(1), play.start(2)
    play.work(3, hangs, works)
    play.work(9, works)
    assert play.killed == []
    play.wait(MINUTE)
    play.report(works)
    play.wait(2 * EVERY)
    assert play.killed == ["actor1"]
    assert play.reasons == {1: "hung: no report for 0:10:05"}
    play.wait(4 * MINUTE)
    assert play.killed == ["actor1"]  # once


def test_an_epoch_may_take_ten_times_the_longest(play: Play) -> None:
    trial = play.start(1)
    play.wait(20 * MINUTE)
    play.report(trial)  # the first one, with the start of the process
    play.wait(MINUTE)
    play.report(trial)
    play.wait(199 * MINUTE)
    assert play.killed == []
    play.wait(2 * MINUTE)
    assert play.killed == ["actor1"]


def test_the_first_epoch_is_measured_by_the_others(play: Play) -> None:
    other = play.start(1)
    play.wait(10 * MINUTE)
    play.report(other)
    other.status = "TERMINATED"
    play.start(2)
    play.wait(99 * MINUTE)
    assert play.killed == []
    play.wait(2 * MINUTE)
    assert play.killed == ["actor2"]


def test_the_first_validation_may_take_its_time(play: Play) -> None:
    """With `validate_every` above 1: epochs without one say nothing of an epoch with one."""
    trial, other = play.start(1), play.start(2)
    for each in (trial, other):
        for _ in range(3):
            play.now += MINUTE
            play.dog.on_trial_result(0, play.trials, each, {"epoch": 1, "train/loss": 1.0})
    other.status = "TERMINATED"
    play.wait(60 * MINUTE)
    play.report(trial)  # with its validation, an hour later
    other.status = "RUNNING"
    play.dog.on_trial_start(0, play.trials, other)
    play.now += MINUTE
    play.dog.on_trial_result(0, play.trials, other, {"epoch": 1, "train/loss": 1.0})
    assert play.dog.limit("ray2") == play.dog.limit("ray1") >= 10 * 60 * MINUTE


def test_a_day_is_allowed_while_nothing_is_measured(play: Play) -> None:
    play.start(1)
    play.wait(FIRST_EPOCH - MINUTE, step=30.0)
    assert play.killed == []
    play.wait(2 * MINUTE)
    assert play.killed == ["actor1"]


def test_epochs_of_milliseconds_do_not_make_it_hasty(play: Play) -> None:
    trial = play.start(1)
    play.wait(EVERY)
    play.report(trial)
    play.wait(5 * MINUTE - EVERY)
    assert play.killed == []
    play.wait(3 * EVERY)
    assert play.killed == ["actor1"]


def test_sessions_before_this_one_are_measures(tmp_path: Path) -> None:
    first = Play(tmp_path, Faults())
    first.ledger.append(Proposed(0, params={}))
    for epoch, seconds in ((1, 3600.0), (2, 1800.0)):
        metrics = {"epoch": float(epoch), METRIC: 1.0, "train/seconds": seconds}
        first.ledger.append(Report(0, metrics=metrics))
    first.ledger.close()
    play = Play(tmp_path, Faults())
    trial = play.start(0)
    play.report(trial, restored=True)  # at once: no epoch was trained for it
    assert play.dog.limit("ray0") == 10 * 3600.0
    play.ledger.close()


def test_a_driver_that_was_deaf_blames_nobody(play: Play) -> None:
    """Its machine slept, or the searcher took an hour: the reports wait to be heard."""
    trial = play.start(1)
    play.wait(MINUTE)
    play.report(trial)
    play.wait(3600.0, step=3600.0)
    assert play.killed == []
    play.wait(11 * MINUTE)
    assert play.killed == ["actor1"]


def test_a_pause_of_the_driver_is_no_epoch(play: Play) -> None:
    """A report is the first thing that it hears when it goes on."""
    trial, other = play.start(1), play.start(2)
    play.work(2, trial, other)
    play.now += 3600.0
    play.report(trial)
    play.dog.on_step_end(0, play.trials)
    assert play.dog.limit("ray1") == play.dog.limit("ray2") == 10 * MINUTE
    play.work(9, trial)
    assert play.killed == []
    play.wait(MINUTE + 2 * EVERY)
    assert play.killed == ["actor2"]
    assert play.reasons == {2: "hung: no report for 0:10:05"}
    play.wait(8 * MINUTE)
    assert "actor1" not in play.killed
    play.wait(MINUTE)
    assert "actor1" in play.killed


def test_a_trial_that_starts_after_a_pause_was_not_heard_in_the_future(play: Play) -> None:
    first = play.start(1)
    play.wait(MINUTE)
    play.report(first)
    play.now += 3600.0
    play.start(2)
    play.wait(EVERY)
    play.report(first)
    play.wait(10 * MINUTE + 2 * EVERY)
    assert "actor2" in play.killed


def test_waiting_trials_are_looked_at_about_every_minute(play: Play) -> None:
    play.wait(5 * MINUTE)
    assert play.again == [MINUTE * (n + 1) for n in range(5)]


def test_a_trial_that_ended_is_forgotten(play: Play) -> None:
    trial = play.start(1)
    play.wait(MINUTE)
    play.report(trial)
    trial.status = "TERMINATED"
    play.wait(60 * MINUTE)
    assert play.killed == []
    trial.status, trial.temporary_state.ray_actor = "RUNNING", None  # its process is on its way
    play.dog.on_trial_start(0, play.trials, trial)
    play.wait(60 * MINUTE)
    assert (play.killed, play.reasons) == ([], {})


def test_a_process_that_does_not_start_is_killed(play: Play) -> None:
    works, hangs = play.start(1), play.start(2)
    hangs.status, play.starts["ray2"] = "PENDING", "process2"

    play.work(START / MINUTE, works)
    assert play.killed == []
    play.wait(2 * EVERY)
    assert play.killed == ["process2"]
    assert play.reasons == {2: "hung: its process did not start in 0:30:05"}
    play.work(2, works)
    play.starts["ray2"] = "another2"  # each has its own time
    play.work(START / MINUTE, works)
    assert play.killed == ["process2"]
    play.wait(2 * EVERY)
    assert play.killed == ["process2", "another2"]


def test_who_allows_longer_silences_allows_longer_starts(tmp_path: Path) -> None:
    play = Play(tmp_path, Faults(hang_minutes=60))
    assert play.dog.start_limit() == 60 * MINUTE
    play.ledger.close()


def test_room_that_comes_late_and_a_deaf_driver_are_no_slow_start(play: Play) -> None:
    trial = play.start(1)
    trial.status = "PENDING"
    play.wait(3 * START)
    play.starts["ray1"] = "process1"
    play.wait(START - MINUTE)
    play.wait(3600.0, step=3600.0)
    assert play.killed == []
    play.wait(MINUTE + 2 * EVERY)
    assert play.killed == ["process1"]


def test_null_means_never(tmp_path: Path) -> None:
    play = Play(tmp_path, Faults(hang_after=None))
    play.start(1)
    play.start(2).status, play.starts["ray2"] = "PENDING", "process2"
    play.wait(2 * FIRST_EPOCH, step=50.0)
    assert play.killed == []
    play.ledger.close()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"hang_after": 1.5}, "hang_after is 1.5; must be 2 or more"),
        ({"hang_minutes": 0}, "hang_minutes is 0; must be above 0"),
        ({"node_failures": 0}, "node_failures is 0; must be 1 or more"),
    ],
)
def test_settings_that_make_no_sense_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Faults(**given)
