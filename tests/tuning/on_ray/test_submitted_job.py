"""`ray job submit --working-dir . -- python tune.py ...` on a cluster that asks for its token."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
RAY = str(Path(sys.executable).parent / "ray")

pytestmark = [pytest.mark.ray, pytest.mark.cluster, pytest.mark.timeout(600)]


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture
def head(tmp_path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """A Ray head of its own: its dashboard's address, and the environment that has its token."""
    home = tmp_path / "home"
    home.mkdir()
    env = {**os.environ, "HOME": str(home), "RAY_AUTH_MODE": "token"}
    env["PATH"] = f"{Path(RAY).parent}:{env['PATH']}"
    subprocess.run([RAY, "get-auth-token", "--generate"], env=env, check=True, capture_output=True)
    gcs, dashboard, agent = free_ports(3)
    command = [RAY, "start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--port={gcs}"]
    command += ["--num-cpus=2", "--num-gpus=0", f"--dashboard-port={dashboard}"]
    short = tempfile.TemporaryDirectory(prefix="r", ignore_cleanup_errors=True)  # of sockets
    command += [f"--dashboard-agent-listen-port={agent}", f"--temp-dir={short.name}"]
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{dashboard}"
    try:
        deadline = time.monotonic() + 120
        while status(url) is None:
            assert process.poll() is None, "the head ended"
            assert time.monotonic() < deadline, "no dashboard after two minutes"
            time.sleep(0.5)
        yield url, env
    finally:
        process.send_signal(signal.SIGTERM)  # not `ray stop`, which ends every cluster of the user
        process.wait(timeout=60)
        short.cleanup()


def status(url: str) -> int | None:
    """The HTTP status of the jobs API without a token, or None where nothing answers."""
    try:
        with urllib.request.urlopen(f"{url}/api/jobs/", timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def test_job_searches_with_the_token_and_is_refused_without(
    head: tuple[str, dict[str, str]], tmp_path: Path
) -> None:
    url, env = head
    assert status(url) == 401
    storage = tmp_path / "experiments"
    command = [RAY, "job", "submit", "--address", url, "--working-dir", str(ROOT), "--"]
    command += ["python", "tune.py", "--space", "phase3", "--storage", str(storage), "--set"]
    command += ["budget.trials=1", "fidelity.max=1", "base.data.crops_per_epoch=4"]
    run = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "the Ray cluster at 127.0.0.1" in run.stdout
    (export,) = storage.glob("phase3-*/best.yaml")
    assert export.read_text().startswith("# PROXY")
    refused = subprocess.run(
        command, env={**env, "RAY_AUTH_MODE": "disabled"}, cwd=ROOT, capture_output=True, text=True
    )
    assert refused.returncode != 0
    assert len(list(storage.glob("phase3-*"))) == 1
