"""Nodes come and go while a search runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise

import pytest

from tests.drills.loss import check_nothing_else_lost, repeated
from tests.drills.nodes import Nodes
from tests.drills.search import RATES, Search
from tests.drills.twin import follow

pytestmark = [pytest.mark.ray, pytest.mark.cluster, pytest.mark.timeout(200)]

GPU = {"gpu": 1, "cpu": 1}


def test_a_worker_node_is_killed(
    nodes: Nodes, search: Callable[..., Search], lost: Callable[[str], None]
) -> None:
    found = search(RATES[:4], nodes.address, resources=GPU)
    found.start(seconds=0.4)

    victim = nodes.node_of(found.wait_for(lambda: found.between_checkpoints()).pid)
    killed = nodes.kill_worker(victim)
    before = found.trials()
    nodes.add_worker()
    assert found.finish() == 0
    after = found.trials()
    epochs = check_nothing_else_lost(before, after, found.trained(), found.space().rungs())
    follow(found.events(), found.space())
    (retried,) = [t.number for t in after if t.retries]
    lost(f"{epochs} epochs of one trial; it went on after {found.back(retried, killed):.1f} s")


def test_a_node_joins(
    nodes: Nodes, search: Callable[..., Search], lost: Callable[[str], None]
) -> None:
    """One GPU, then two: the search spreads without being told."""
    nodes.kill_worker(nodes.workers[0])
    rates = (RATES[0], *RATES[4:0:-1])  # each better than those before: it passes every rung
    found = search(rates, nodes.address, resources=GPU, scheduler={"name": "asha", "pilots": 0})
    found.start(seconds=1.5)  # longer than a process takes to start
    found.wait_for_epochs(2)
    joined = time.time()
    nodes.add_worker()
    assert found.finish() == 0
    follow(found.events(), found.space())
    assert not repeated(found.trained())
    late = [e for e in found.trained() if e.time > joined]
    busy = {e.rate: (min(x.time for x in late if x.rate == e.rate), e.time) for e in late}
    spans = sorted(busy.values())
    assert any(end > start for (_, end), (start, _) in pairwise(spans)), "one at a time"
    lost("nothing; two trials at a time with the second node")
