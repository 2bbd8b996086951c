"""The head of the cluster is killed, and a loop around `--resume` brings the search to its end."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.drills.loss import check_nothing_else_lost
from tests.drills.nodes import Nodes
from tests.drills.search import RATES, Search
from tests.drills.twin import follow

PATIENCE = 5.0  # seconds; 50 as shipped

pytestmark = [pytest.mark.ray, pytest.mark.cluster, pytest.mark.timeout(240)]


def test_the_head_is_killed(
    nodes: Nodes, search: Callable[..., Search], lost: Callable[[str], None]
) -> None:
    found = search(RATES[:3], nodes.address, resources={"gpu": 1, "cpu": 1})
    found.start("--patience", str(PATIENCE), seconds=0.4)
    found.wait_for(found.between_checkpoints)
    before = found.trials()
    killed = nodes.kill_head()
    codes = []
    while (code := found.finish(90)) != 0:  # as deploy/search.sh under Slurm or Kubernetes
        codes.append(code)
        assert len(codes) < 3, codes
        if nodes.head is None:
            noticed = time.time() - killed
            restart(nodes)
        found.resume(seconds=0.1)
    assert codes
    epochs = check_nothing_else_lost(before, found.trials(), found.trained(), found.space().rungs())
    follow(found.events(), found.space())
    first = next(e["time"] for e in found.events() if e["time"] > killed + noticed)
    lost(
        f"{epochs} epochs; the driver ended after {noticed:.1f} s (patience {PATIENCE:g} s here, 50"
        f" as shipped), its successor began after {first - killed:.1f} s"
    )


def restart(nodes: Nodes) -> None:
    """A new head at the old address, and new workers: those of the old one do not come back."""
    for worker in list(nodes.workers):
        nodes.kill_worker(worker)
    nodes.start_head()
    for _ in range(2):
        nodes.add_worker()
