"""A search that begins with no GPU at all: Ray's autoscaler brings the nodes that its trials need.

On Ray's own fake provider, whose nodes are processes on this machine and whose GPUs stand in Ray's
books only. Its nodes share one address, so that none of them ever counts as idle: nodes come, and
stay. The second version of Ray's autoscaler, which `ray up` takes, wants a file for this provider
that Ray's wheel lacks; this is the first.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.drills.nodes import MEMORY, free_port
from tests.drills.search import RATES, Search, space_of

pytestmark = [pytest.mark.ray, pytest.mark.cluster, pytest.mark.timeout(400)]

RAY = str(Path(sys.executable).parent / "ray")
GPU_NODES = 3
NO_TOKEN = {"RAY_AUTH_MODE": "disabled"}  # a token of the user would be found and asked for
HEAD = "ray.head.default"  # the fake provider's own name of it
OF_THE_HEAD = {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1", **NO_TOKEN}
NOTHING: dict[str, Any] = {  # keys that Ray's example fills, which its wheel lacks
    **dict.fromkeys(("auth", "docker", "file_mounts"), {}),
    **dict.fromkeys(("cluster_synced_files", "rsync_exclude", "rsync_filter"), []),
    **dict.fromkeys(("initialization_commands", "setup_commands", "head_setup_commands"), []),
    **dict.fromkeys(("worker_setup_commands", "head_start_ray_commands"), []),
    "worker_start_ray_commands": [],
    "file_mounts_sync_continuously": False,
}


def cluster_file(address: str) -> dict[str, Any]:
    """A head without CPUs, and up to three nodes of one GPU."""
    own = {"CPU": 1, "GPU": 1, "object_store_memory": MEMORY}
    types = {
        HEAD: {"resources": {}, "node_config": {}, "max_workers": 0},
        "gpu": {"resources": own, "node_config": {}, "min_workers": 0, "max_workers": GPU_NODES},
    }
    return NOTHING | {
        "cluster_name": "fake",
        "max_workers": GPU_NODES,
        "upscaling_speed": 10.0,
        "idle_timeout_minutes": 5,
        "provider": {
            "type": "fake_multinode",
            "gcs_address": address,
            "launch_multiple": True,
            "disable_node_updaters": True,  # there is no SSH to set them up by, or to repair them
            "worker_liveness_check": False,
        },
        "available_node_types": types,
        "head_node_type": HEAD,
    }


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A head with an autoscaler, and no worker yet."""
    found = f"127.0.0.1:{free_port()}"
    with tempfile.TemporaryDirectory(prefix="a", ignore_cleanup_errors=True) as temp:
        file = Path(temp, "fake.yaml")
        file.write_text(yaml.safe_dump(cluster_file(found)))
        command = [RAY, "start", "--head", "--block", "--node-ip-address=127.0.0.1"]
        command += [f"--port={found.rpartition(':')[2]}", "--num-cpus=0", "--num-gpus=0"]
        command += ["--include-dashboard=false", "--dashboard-agent-listen-port=0"]
        command += [f"--object-store-memory={MEMORY}", f"--temp-dir={temp}/r"]
        command += [f"--autoscaling-config={file}"]
        env = {**os.environ, **OF_THE_HEAD}
        head = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
        try:
            yield found
        finally:
            family = psutil.Process(head.pid).children(recursive=True)
            head.send_signal(signal.SIGTERM)
            head.wait(timeout=60)
            for process in psutil.wait_procs(family, timeout=10)[1]:
                process.kill()


@pytest.fixture
def on_cluster(address: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The cluster's address; its nodes ask for no token."""
    for name, value in NO_TOKEN.items():
        monkeypatch.setenv(name, value)
    return address


def nodes_at_work(search: Search) -> int:
    """Nodes on which a trial has trained an epoch and still runs."""
    raylets = set()
    for pid in {one.pid for one in search.trained()}:
        if psutil.pid_exists(pid):
            raylets.add(psutil.Process(pid).ppid())
    return len(raylets)


def space(cpu: int = 1) -> dict[str, Any]:
    """Four trials that none is stopped of, on a GPU and so many cores each."""
    return space_of(
        RATES[:4],
        scheduler={"name": "fifo"},
        budget={"trials": 4, "concurrent": None},
        resources={"gpu": 1, "cpu": cpu},
    )


def test_a_trial_that_no_node_can_hold_is_refused(on_cluster: str, tmp_path: Path) -> None:
    """Three nodes may come, but none with two cores: stock Ray waits for ever."""
    search = Search(tmp_path, space(cpu=2), on_cluster)
    search.start()
    assert search.finish() == 2
    assert "no autoscaler may start one (only gpu: 3 x 1 GPU and 1 CPU)" in search.said()
    assert not search.events()


def test_gpus_come_with_the_trials(on_cluster: str, tmp_path: Path) -> None:
    search = Search(tmp_path, space(), on_cluster)
    search.start("--profile", "auto", seconds=2.0)
    try:
        search.wait_for(lambda: nodes_at_work(search) == GPU_NODES, seconds=200)
        assert search.finish() == 0
    finally:
        search.kill()
    assert f"may scale to {GPU_NODES} GPUs" in search.log.read_text()
    assert [trial.state for trial in search.trials()] == ["finished"] * 4
    retried = {event.get("kind") for event in search.events() if event["event"] == "retried"}
    assert retried <= {"node_lost"}  # a fourth node may come, which Ray takes back at once
