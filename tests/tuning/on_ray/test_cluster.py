"""Ray started on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ray._private import services

from tuning.on_ray.cluster import cluster


def test_folders_that_trials_read_are_found_from_any_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trials work in folders of their own; a relative one would be looked for there."""
    seen: dict[str, str] = {}

    def stop(**_: object) -> None:
        seen.update(os.environ)
        raise RuntimeError("far enough")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HPCM_DATA", "pictures")
    monkeypatch.setenv("HPCM_CHECKPOINTS", "~/weights")
    monkeypatch.setenv("TUNE_RESULT_DIR", "/x")  # Ray would refuse it amid the search
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("tuning.on_ray.cluster.ray.is_initialized", lambda: False)
    monkeypatch.setattr("tuning.on_ray.cluster.ray.init", stop)
    with pytest.raises(RuntimeError, match="far enough"), cluster(None):
        pass
    assert seen["HPCM_DATA"] == str(tmp_path / "pictures")
    assert seen["HPCM_CHECKPOINTS"] == str(tmp_path / "weights")
    assert "TUNE_RESULT_DIR" not in seen


def test_rays_processes_are_in_groups_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal to our group must not kill Ray before the trials have saved."""
    groups: dict[int, int] = {}

    def start(**_: object) -> None:
        command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
        process = services.ConsolePopen(command, stdin=subprocess.PIPE, preexec_fn=lambda: None)
        groups[process.pid] = os.getpgid(process.pid)
        process.communicate()
        raise RuntimeError("far enough")

    stock = services.ConsolePopen
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("tuning.on_ray.cluster.ray.is_initialized", lambda: False)
    monkeypatch.setattr("tuning.on_ray.cluster.ray.init", start)
    with pytest.raises(RuntimeError, match="far enough"), cluster(None):
        pass
    ((child, group),) = groups.items()
    assert group == child != os.getpgid(0)
    assert services.ConsolePopen is stock
