"""Processes that stand by, on a real Ray: a trial takes one, with PyTorch imported."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import ray

from tuning.clusters.cluster import ENVIRONMENT, cluster
from tuning.clusters.standby import StandBy, start_another

ROOT = Path(__file__).parents[3]


def idle() -> set[int]:
    """Processes of our Ray that have run nothing yet."""
    found = set()
    for process in psutil.Process().children(recursive=True):
        try:
            if process.cmdline()[:1] == ["ray::IDLE"]:
                found.add(process.pid)
        except psutil.NoSuchProcess:
            continue
    return found


def as_tune_makes_it() -> Any:
    """An actor that tells its process, and whether a trial's imports were there before it."""

    class Trial:
        def __init__(self) -> None:
            self.ready = {"torch", "tuning.trainable"} <= set(sys.modules)

        def look(self) -> tuple[int, bool]:
            return os.getpid(), self.ready

    environment = {"env_vars": {"PL_DISABLE_FORK": "1"}}
    return ray.remote(num_cpus=0, runtime_env=environment)(Trial).remote()


@pytest.mark.ray
@pytest.mark.timeout(200)
def test_the_next_one_takes_the_process_that_stood_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with cluster(None, dashboard=False):
        first = as_tune_makes_it()
        ray.get(first.look.remote())
        before = idle()
        start_another(first)
        deadline = time.monotonic() + 100
        while not (stands_by := idle() - before):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        pid, ready = ray.get(as_tune_makes_it().look.remote())
    assert {pid} == stands_by
    assert ready


def test_a_trial_without_a_process_takes_none() -> None:
    replaced: list[Any] = []
    standby = StandBy(replaced.append)
    for actor in (None, "an actor"):
        trial: Any = SimpleNamespace(temporary_state=SimpleNamespace(ray_actor=actor))
        standby.on_trial_start(0, [], trial)
    assert replaced == ["an actor"]


def test_what_goes_wrong_costs_no_trial(caplog: pytest.LogCaptureFixture) -> None:
    def fails(actor: Any) -> None:
        raise KeyError("NodeManagerPort")

    trial: Any = SimpleNamespace(temporary_state=SimpleNamespace(ray_actor="an actor"))
    standby = StandBy(fails)
    for _ in range(3):
        standby.on_trial_start(0, [], trial)
    assert caplog.text.count("no process stands by") == 1  # and it is not tried again


def test_nodes_of_a_cluster_import_the_same_as_here() -> None:
    names = [name for name in ENVIRONMENT if name.startswith(("RAY_preload", "RAY_prestart"))]
    assert len(names) == 2
    shown = "|".join(f"${name}" for name in names)
    script = f'. deploy/node_env.sh; echo "{shown}"'
    said = subprocess.run(["sh", "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert said.stdout.strip() == "|".join(ENVIRONMENT[name] for name in names)
    image = (ROOT / "deploy/Dockerfile").read_text()
    assert all(f" {name}={ENVIRONMENT[name]}" in image for name in names)
