"""Ray started on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ray._private import services
from ray.tune.execution import class_cache

from tuning.on_ray import private_api
from tuning.on_ray.cluster import cluster
from tuning.spaces.refusals import NotNowError


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


WHEN_RAY_STARTS = """
import os, ray, sys
from pathlib import Path
from tuning.on_ray import cluster
def stop(**_):
    print(oct((Path.home() / ".ray/auth_token").stat().st_mode & 0o777), os.umask(0o022))
    raise RuntimeError("far enough")
os.umask(0o022)
ray.init = stop
for os.environ["HOME"] in sys.argv[1:]:
    try:
        with cluster.cluster(None):
            pass
    except RuntimeError as error:
        print(error)
"""


def test_rays_token_is_private_before_anything_listens(tmp_path: Path) -> None:
    """Where there is none, and where Ray made one that everybody may read."""
    homes = [tmp_path / "new", tmp_path / "used"]
    tokens = [home / ".ray" / "auth_token" for home in homes]
    tokens[1].parent.mkdir(parents=True)
    tokens[1].write_text("ab" * 32)
    tokens[1].chmod(0o644)
    environment = {name: text for name, text in os.environ.items() if name[:4] != "RAY_"}
    done = subprocess.run(
        [sys.executable, "-c", WHEN_RAY_STARTS, *map(str, homes)],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines() == [f"0o600 {0o022}", "far enough"] * 2, done.stderr
    assert [len(token.read_text()) for token in tokens] == [64, 64]


def test_keys_of_aws_stay_out_of_rays_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """On one machine trials inherit them; stock Tune writes them into the runtime environment."""

    class Trained:
        pass

    def sent() -> Any:
        made = class_cache._ActorClassCache().get(Trained)
        return made._default_options["runtime_env"]["env_vars"]

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    assert sent()["AWS_SECRET_ACCESS_KEY"] == "hidden"
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("tuning.on_ray.cluster.ray.is_initialized", lambda: False)
    for name in ("init", "shutdown"):
        monkeypatch.setattr(f"tuning.on_ray.cluster.ray.{name}", lambda **_: None)
    monkeypatch.setattr(private_api, "make_token_private", lambda create: None)
    monkeypatch.setattr("tuning.on_ray.cluster._describe", lambda address: None)
    with cluster(None):
        assert not [name for name in sent() if name.startswith("AWS_")]
        assert os.environ["AWS_SECRET_ACCESS_KEY"] == "hidden"  # the processes of trials have it
    assert "AWS_SECRET_ACCESS_KEY" in sent()


def test_a_ray_that_does_not_start_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(**_: object) -> None:
        raise Exception("The current node timed out during startup. This could happen because ..")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("tuning.on_ray.cluster.ray.is_initialized", lambda: False)
    monkeypatch.setattr("tuning.on_ray.cluster.ray.init", start)
    monkeypatch.setattr(private_api, "make_token_private", lambda create: None)
    with pytest.raises(NotNowError, match="Ray did not start on this machine"), cluster(None):
        pass
