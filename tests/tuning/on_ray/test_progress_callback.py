"""Who hears of a running search, and how often."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.tuning.lr_space import ray_trial
from tuning.ledger.events import Report, Started
from tuning.ledger.ledger import Ledger
from tuning.ledger.notices import Notices
from tuning.ledger.records import TrialRecord
from tuning.on_ray.progress_callback import LONGEST_PAUSE, ProgressCallback


class Listener:
    """Takes ``seconds`` of a clock that nothing else moves."""

    def __init__(self, seconds: float) -> None:
        self.now, self.seconds = 100.0, seconds
        self.heard: list[int] = []  # epochs of all trials

    def __call__(self, trials: Sequence[TrialRecord]) -> None:
        self.now += self.seconds
        self.heard.append(sum(trial.epochs for trial in trials))


def searched(ledger: Ledger) -> Any:
    """What it reads of a search."""
    return SimpleNamespace(
        ledger=ledger, started=lambda trial, ray_id: ledger.append(Started(trial, ray_id))
    )


def steps(ledger: Ledger, listener: Listener, count: int, seconds: float) -> ProgressCallback:
    """A driver whose every step takes ``seconds`` and brings a report."""
    progress = ProgressCallback(
        searched(ledger), listener, Notices(lambda text: None), lambda: listener.now
    )
    for epoch in range(1, count + 1):
        ledger.append(Report(0, metrics={"epoch": float(epoch)}))
        listener.now += seconds
        progress.on_step_end(0, [])
    return progress


def test_a_quick_listener_hears_every_change_once(
    ledger_in: Callable[..., Ledger], tmp_path: Path
) -> None:
    listener = Listener(seconds=0.0)
    progress = steps(ledger_in(tmp_path), listener, count=20, seconds=0.01)
    progress.on_step_end(0, [])
    assert listener.heard == list(range(1, 21))


def test_a_slow_one_takes_a_small_share_of_the_time_and_misses_nothing_for_long(
    ledger_in: Callable[..., Ledger], tmp_path: Path
) -> None:
    listener = Listener(seconds=0.01)
    progress = steps(ledger_in(tmp_path), listener, count=1000, seconds=0.005)
    share = len(listener.heard) * listener.seconds / (listener.now - 100.0)
    assert 0.03 < share < 0.06
    progress.hand_on()  # as at the end of a session
    assert listener.heard[-1] == 1000


def test_what_a_trial_noticed_is_told_once(
    ledger_in: Callable[..., Ledger], tmp_path: Path
) -> None:
    messages: list[str] = []
    progress = ProgressCallback(searched(ledger_in(tmp_path)), None, Notices(messages.append))
    for epoch in (3, 4, 5):
        text = f"its epoch {epoch} could not be saved: [Errno 28] No space left on device"
        progress.on_trial_result(0, [], ray_trial(1), {"epoch": epoch, "notice": text})
    progress.on_trial_result(0, [], ray_trial(1), {"epoch": 6})
    progress.on_trial_result(0, [], ray_trial(2), {"notice": "s3://key:hunter2@b is away"})
    progress.hand_on()
    assert messages == [
        "trial 1: its epoch 3 could not be saved: [Errno 28] No space left on device",
        "trial 2: s3://key:***@b is away",
    ]


def test_no_change_waits_long(ledger_in: Callable[..., Ledger], tmp_path: Path) -> None:
    listener = Listener(seconds=5.0)
    steps(ledger_in(tmp_path), listener, count=4, seconds=LONGEST_PAUSE)
    assert listener.heard == [1, 2, 3, 4]


def test_a_start_is_noted(ledger_in: Callable[..., Ledger], tmp_path: Path) -> None:
    ledger = ledger_in(tmp_path)
    trial: Any = ray_trial(3)
    ProgressCallback(searched(ledger), None, Notices(lambda text: None)).on_trial_start(
        0, [], trial
    )
    assert ledger.trials[3].state == "running"


def test_notices_are_handed_on(ledger_in: Callable[..., Ledger], tmp_path: Path) -> None:
    heard: list[str] = []
    notices = Notices(heard.append)
    notices.add("mind the gap")
    ProgressCallback(searched(ledger_in(tmp_path)), None, notices).on_step_end(0, [])
    assert heard == ["mind the gap"]
