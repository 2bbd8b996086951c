"""Nodes come and go while a search runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.drills.loss import check_nothing_else_lost
from tests.drills.nodes import Nodes
from tests.drills.search import RATES, Search
from tests.drills.twin import follow

pytestmark = [pytest.mark.ray, pytest.mark.timeout(200)]

GPU = {"gpu": 1, "cpu": 1}


def test_a_worker_node_is_killed(
    nodes: Nodes, search: Callable[..., Search], lost: Callable[[str], None]
) -> None:
    found = search(RATES[:4], nodes.address, resources=GPU)
    found.start(seconds=0.4)

    def third_epoch() -> int | None:
        """The process of a trial that stands between two checkpoints."""
        known = [e for e in found.trained() if e.epoch >= 5]
        return known[-1].pid if known else None

    victim = nodes.node_of(found.wait_for(third_epoch))
    before = found.trials()
    killed = nodes.kill_worker(victim)
    nodes.add_worker()
    assert found.finish() == 0
    after = found.trials()
    epochs = check_nothing_else_lost(before, after, found.trained(), found.space().rungs())
    follow(found.events(), found.space())
    (retried,) = [t for t in after if t.retries]
    back = min(
        e["time"]
        for e in found.events()
        if e["event"] == "report" and e["trial"] == retried.number and e["time"] > killed
    )
    lost(f"{epochs} epochs of one trial; it went on after {back - killed:.1f} s")
