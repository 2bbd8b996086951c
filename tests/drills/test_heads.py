"""The head of the cluster is killed, and a loop around `--resume` brings the search to its end."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.drills.loss import check_nothing_else_lost
from tests.drills.nodes import Nodes
from tests.drills.search import RATES, ROOT, Search
from tests.drills.twin import follow

PATIENCE = 5.0  # seconds; 50 as shipped

pytestmark = [pytest.mark.ray, pytest.mark.cluster, pytest.mark.timeout(240)]


def test_the_head_is_killed(
    nodes: Nodes, search: Callable[..., Search], lost: Callable[[str], None]
) -> None:
    found = search(RATES[:3], nodes.address, resources={"gpu": 1, "cpu": 1})
    supervise(found)
    found.wait_for(found.between_checkpoints)
    killed = nodes.kill_head()
    found.wait_for(lambda: "starting again" in found.said())
    noticed, before = time.time(), found.trials()
    restart(nodes)
    assert found.finish() == 0
    assert "exit code 1; starting again" in found.log.read_text()
    epochs = check_nothing_else_lost(before, found.trials(), found.trained(), found.space().rungs())
    follow(found.events(), found.space())
    first = next(e["time"] for e in found.events() if e["time"] > noticed)
    lost(
        f"{epochs} epochs; the driver ended after {noticed - killed:.1f} s (patience {PATIENCE:g} s"
        f" here, 50 as shipped), its successor began {first - killed:.1f} s after the kill"
    )


def supervise(found: Search) -> None:
    """Start it as a machine would, with a `tune.py` of its own."""
    words = [str(found.folder), "--seconds", "0.4", "--patience", str(PATIENCE)]
    (found.folder / "tune.py").write_text(
        "import sys\nfrom tests.drills.driver import main\n"
        f"sys.exit(main([*{words!r}, *sys.argv[1:]]))\n"
    )
    command = [str(ROOT / "deploy" / name) for name in ("supervise.sh", "search.sh")]
    command += [str(found.storage), "--space", str(found.folder / "rates.yaml")]
    command += ["--profile", "cluster", "--address", str(found.address)]
    python = Path(sys.executable).parent
    path = {"PATH": f"{python}:{os.environ['PATH']}", "HPCM_RETRY_SECONDS": "1"}
    found.launch(command, found.folder, path)


def restart(nodes: Nodes) -> None:
    """A new head at the old address, and new workers: those of the old one do not come back."""
    for worker in list(nodes.workers):
        nodes.kill_worker(worker)
    nodes.start_head()
    for _ in range(2):
        nodes.add_worker()
