"""A trial's process that never comes up: its imports wait for a disk that does not answer."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.drills.fake_training import STUCK
from tests.drills.search import RATES, Search

pytestmark = [pytest.mark.ray, pytest.mark.cluster, pytest.mark.timeout(280)]

ALLOWED = 25.0  # seconds


def test_a_process_that_never_starts_is_killed_and_its_trial_goes_on(
    search: Callable[..., Search], lost: Callable[[str], None]
) -> None:
    """Stock Ray waits for it for ever, and for the search's end with it."""
    found = search(
        RATES[:3],
        budget={"trials": 3, "concurrent": 1},
        scheduler={"name": "asha", "pilots": 0},
        faults={"hang_minutes": ALLOWED / 60},
    )
    (found.folder / STUCK).touch()
    found.start("--start", str(ALLOWED), seconds=0.1)
    assert found.finish(200) == 0, found.said()
    assert {trial.state for trial in found.trials()} <= {"finished", "stopped"}
    (retried,) = [event for event in found.events() if event["event"] == "retried"]
    assert (retried["trial"], retried["kind"]) == (0, "hung")
    assert retried["reason"].startswith("hung: its process did not start in 0:00:")
    assert retried["node"]  # it counts towards draining it
    back = found.back(0, (found.folder / f"was_{STUCK}").stat().st_ctime)
    lost(f"nothing; its trial was at work {back:.0f} s later, the {ALLOWED:g} s allowed included")
