"""Everything of a job is hit at once, as a batch system or a full node does it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import psutil
import pytest

from tests.drills.loss import check_nothing_else_lost
from tests.drills.search import RATES, Search
from tests.drills.twin import follow

pytestmark = [pytest.mark.ray, pytest.mark.cluster, pytest.mark.timeout(200)]

AGENTS = {
    "ray::DashboardAgent",
    "ray::RuntimeEnvAgent",
}  # they notice later; a job's end kills them


def test_ray_is_ended_together_with_its_driver(
    search: Callable[..., Search], lost: Callable[[str], None]
) -> None:
    """As Slurm's `scancel` does it. Ray alone holds the driver for 60 s, then it exits with 1."""
    found = search(RATES[:2])
    found.start(seconds=0.5)
    found.wait_for(found.between_checkpoints)
    assert found.process is not None
    family = psutil.Process(found.process.pid).children(recursive=True)
    for process in family:
        if process.name() in ("gcs_server", "raylet"):
            process.terminate()
    asked = found.send(signal.SIGTERM)
    assert found.finish(60) == 130
    took = time.time() - asked
    assert "--resume" in found.said()
    alive = psutil.wait_procs(family, timeout=20)[1]
    assert {process.name() for process in alive} <= AGENTS
    for process in alive:
        process.kill()
    before = found.trials()
    found.resume(seconds=0.05)
    assert found.finish() == 0
    after = found.trials()
    assert all(trial.ended for trial in after)
    follow(found.events(), found.space())
    epochs = check_nothing_else_lost(before, after, found.trained(), found.space().rungs())
    lost(f"{epochs} epochs; ended {took:.1f} s after the signal")


@pytest.mark.parametrize("every", ["250", "6000"], ids=["while-it-starts", "while-it-trains"])
def test_a_node_without_memory_fails_trials_and_not_the_search(
    every: str,
    search: Callable[..., Search],
    lost: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Stock Tune ends it with "Caught unexpected exception" where Ray's memory monitor kills."""
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.001")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", every)
    found = search(RATES[:1])
    found.start(seconds=30.0)
    assert found.finish() == 1  # no trial has a result
    (trial,) = found.trials()
    assert trial.state == "failed"
    message = "out of main memory on its node: Ray ended its process (started 3 times)"
    assert trial.reason == message
    kinds = [event["kind"] for event in found.events() if "kind" in event]
    assert kinds == ["memory", "memory", "memory"]
    lost("the trial, after three starts; the search ended by itself")
