"""The driver is interrupted, ended or killed, and the search goes on with `--resume last`."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest

from tests.drills.loss import check_nothing_else_lost
from tests.drills.search import RATES, Search
from tests.drills.twin import follow
from tuning.ledger.records import TrialRecord

HOURS = 50.0  # by which the clock jumps; back is in tests/tuning/test_ledger.py

pytestmark = [pytest.mark.ray, pytest.mark.cluster, pytest.mark.timeout(200)]


def finish_later(found: Search, before: list[TrialRecord]) -> int:
    """Resume it; the epochs that were lost, after everything else was compared."""
    found.resume(seconds=0.05)
    assert found.finish() == 0
    after = found.trials()
    assert all(trial.ended for trial in after)
    follow(found.events(), found.space())
    return check_nothing_else_lost(before, after, found.trained(), found.space().rungs())


@pytest.mark.parametrize(
    ("number", "group"),
    [(signal.SIGINT, False), (signal.SIGTERM, True)],
    ids=["sigint", "sigterm-to-the-group"],
)
def test_asked_once(
    number: signal.Signals,
    group: bool,
    search: Callable[..., Search],
    lost: Callable[[str], None],
) -> None:
    """Running trials save after their epoch: nothing is lost."""
    found = search(RATES[:2])
    found.start(seconds=0.4)
    found.wait_for(found.between_checkpoints)
    asked = found.send(number, group)
    assert found.finish(60) == 130
    took = time.time() - asked
    before = found.trials()
    assert {t.state for t in before} <= {"pending", "finished"}
    assert "--resume" in found.said()
    epochs = finish_later(found, before)
    assert epochs == 0
    lost(f"nothing; saved and ended {took:.1f} s after the signal")


def test_asked_twice(search: Callable[..., Search], lost: Callable[[str], None]) -> None:
    found = search(RATES[:2], scheduler={"name": "asha", "pilots": 0})
    found.start(seconds=2.0)
    found.wait_for(lambda: [e for e in found.trained() if e.epoch >= 2])
    found.send(signal.SIGINT)
    time.sleep(0.3)
    asked = found.send(signal.SIGINT)
    assert found.finish(60) == 130
    took = time.time() - asked
    epochs = finish_later(found, found.trials())
    lost(f"{epochs} epochs; ended {took:.1f} s after the second signal")


def test_a_second_driver_is_refused_and_a_stale_lock_is_not(
    search: Callable[..., Search], lost: Callable[[str], None]
) -> None:
    """The driver is killed with its Ray, half of a line in its ledger is all that it leaves."""
    found = search(RATES[:2])
    first = found.start(seconds=0.4)
    found.wait_for(found.between_checkpoints)
    found.send(signal.SIGSTOP)  # it holds the lock, and its trials wait for it
    found.resume()
    assert found.finish(60) == 1
    assert f"process {first.pid} on" in found.said()
    found.process = first
    found.kill()
    before = found.trials()
    with (found.directory / "ledger.jsonl").open("ab") as file:
        file.write(b'{"event": "report", "time": 17')
    started = time.time()
    epochs = finish_later(found, before)
    first_report = next(e for e in found.events() if e["time"] > started and e["event"] == "report")
    lost(f"{epochs} epochs; went on {first_report['time'] - started:.1f} s after --resume")


def test_the_clock_jumps(search: Callable[..., Search], lost: Callable[[str], None]) -> None:
    """Neither the budget's hours nor the trials' cost follow it."""
    budget = {"trials": 2, "concurrent": 2, "hours": 1.0}
    found = search(RATES[:2], budget=budget)
    found.start("--clock-jump", str(HOURS * 3600), seconds=0.1)
    found.wait_for(found.between_checkpoints)
    found.kill()
    before = found.trials()
    epochs = finish_later(found, before)
    assert all(t.cost_hours < 0.1 for t in found.trials())
    lost(f"{epochs} epochs, by the kill; the hours of the budget stay what they were")
