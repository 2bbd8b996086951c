"""A search that is killed five times ends as one that was not: same seed, one trial at a time."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.drills.search import Search
from tests.drills.twin import follow, story

pytestmark = [pytest.mark.ray, pytest.mark.cluster, pytest.mark.timeout(600)]

SERIAL = {"trials": 5, "concurrent": 1}
SCHEDULERS: dict[str, dict[str, Any]] = {
    "asha": {"name": "asha", "pilots": 0},
    "promote": {"name": "promote", "pilots": 0, "control": 0.2, "seed": 2},
}


def kill_five_times(found: Search, chance: random.Random) -> list[str]:
    """By turns before a line of the session's ledger, and seconds after its first report."""
    moments = []
    for turn in range(5):
        flags = ["--resume", "last"] if turn else []
        if turn % 2:
            lines, seconds = len(found.events()), chance.uniform(0.0, 4.0)
            found.start(*flags, seconds=0.4)
            found.wait_for(lambda known=lines: any_report(found.events()[known:]))
            time.sleep(seconds)
            found.kill()
            moments.append(f"{seconds:.1f} s after a report")
        else:
            line = chance.randint(3, 12)
            torn = ["--torn"] if turn == 2 else []
            found.start(*flags, "--die-before", str(line), *torn, seconds=0.4)
            assert found.finish(90) == -9
            moments.append(f"before line {line}")
    return moments


def any_report(events: list[dict[str, Any]]) -> bool:
    return any(event["event"] == "report" for event in events)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_killed_five_times(
    name: str, search: Callable[..., Search], lost: Callable[[str], None]
) -> None:
    straight = search(None, scheduler=SCHEDULERS[name], budget=SERIAL)
    straight.start(seconds=0.05)  # beside the other, which has a Ray of its own
    killed = search(None, scheduler=SCHEDULERS[name], budget=SERIAL)
    moments = kill_five_times(killed, random.Random(f"{name}-7"))
    left = SERIAL["trials"] - sum(trial.ended for trial in killed.trials())
    assert left, "killed too late"
    killed.resume(seconds=0.05)
    assert killed.finish() == 0
    assert straight.finish() == 0
    for each in (straight, killed):
        follow(each.events(), each.space())
    assert story(killed.events()) == story(straight.events()), moments
    for one, other in zip(straight.trials(), killed.trials(), strict=True):
        assert (other.params, other.state, other.reason) == (one.params, one.state, one.reason)
        assert other.curve("val_rd_cost") == one.curve("val_rd_cost")
    again = len(killed.trained()) - len(straight.trained())
    lost(f"{again} epochs in all, no decision; {', '.join(moments)}")
