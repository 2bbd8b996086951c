"""A node on which every trial breaks within seconds, and which is free therefore."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.drills.fake_training import BAD_NODE
from tests.drills.nodes import Nodes
from tests.drills.search import RATES, Search

pytestmark = [pytest.mark.ray, pytest.mark.cluster, pytest.mark.timeout(280)]


def test_a_node_that_breaks_every_trial_is_drained(
    nodes: Nodes, search: Callable[..., Search], lost: Callable[[str], None]
) -> None:
    """Stock Ray places trial after trial there, until each has used up its retries."""
    found = search(
        RATES[:4],
        nodes.address,
        resources={"gpu": 1, "cpu": 1},
        scheduler={"name": "asha", "pilots": 0},
        faults={"node_failures": 2},
    )
    bad = nodes.workers[0].node_id
    (found.folder / BAD_NODE).write_text(bad)
    found.start(seconds=0.3)
    assert found.finish() == 0, found.said()
    assert {trial.state for trial in found.trials()} <= {"finished", "stopped"}
    events = found.events()
    (drained,) = [event for event in events if event["event"] == "drained"]
    assert drained["node"] == bad
    assert "ECC" in drained["reason"]
    retried = [event for event in events if event["event"] == "retried"]
    assert {event["node"] for event in retried} == {bad}
    assert len({event["trial"] for event in retried}) == len(drained["trials"]) == 2
    after = events[events.index(drained) :]
    assert not [event for event in after if event["event"] in ("retried", "failed")][1:]
    lost(f"no trial; {len(retried)} starts on the bad node before it was drained")
