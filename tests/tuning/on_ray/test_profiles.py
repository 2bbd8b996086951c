from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpcm.schema import ConfigError
from tuning.on_ray import profiles
from tuning.on_ray.autoscaling import Autoscaling, NodeType
from tuning.on_ray.profiles import choose_profile

BOTH = ("laptop", "cluster")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Any:
    """``cluster(has, may)``: a connected Ray cluster with so many GPUs now, and at most."""

    def make(has: int, may: int) -> None:
        monkeypatch.setattr(profiles, "connect", lambda address: None)
        monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 4.0, "GPU": float(has)})
        node = NodeType("gpu", may, {"GPU": 1.0})
        monkeypatch.setattr(profiles, "autoscaling", lambda: Autoscaling((node,)))

    return make


def test_what_is_asked_for_is_taken() -> None:
    assert str(choose_profile("cluster", None, BOTH)) == "cluster (asked for with --profile)"


@pytest.mark.parametrize(
    ("gpus", "message"),
    [
        (0, "laptop (no GPU on this machine)"),
        (1, "cluster (this machine has 1 GPU)"),
        (8, "cluster (this machine has 8 GPUs)"),
    ],
)
def test_here_the_machine_decides(gpus: int, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    assert str(choose_profile("auto", None, BOTH)) == message


def test_a_space_without_the_profile_is_taken_as_it_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    message = "cluster (no GPU on this machine, but the space has no profile laptop)"
    assert str(choose_profile("auto", None, ("mine", "cluster"))) == message
    assert choose_profile("laptop", None, ("cluster",)).name == "laptop"  # refused by name


@pytest.mark.parametrize(
    ("has", "may", "message"),
    [
        (4, 0, "cluster (the Ray cluster at h:1 has 4 GPUs)"),
        (0, 16, "cluster (the Ray cluster at h:1 may scale to 16 GPUs)"),
        (0, 0, "laptop (the Ray cluster at h:1 has no GPU and its autoscaler may start none)"),
    ],
)
def test_on_a_cluster_what_it_has_or_may_start_decides(
    has: int, may: int, message: str, cluster: Any
) -> None:
    cluster(has, may)
    assert str(choose_profile("auto", "h:1", BOTH)) == message


@pytest.mark.parametrize("address", ["garbage", ":", "h:-1", "h:99999", "h", "ray://h:1", "a:b:c"])
@pytest.mark.parametrize("asked", ["auto", "laptop"])
def test_what_is_no_address_is_refused_at_once(address: str, asked: str) -> None:
    """Ray would wait for minutes for a port that cannot be."""
    with pytest.raises(ConfigError, match=f"^--address {address}: no Ray cluster answers there: "):
        choose_profile(asked, address, BOTH)


def test_an_address_from_the_environment_is_named_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "garbage")
    with pytest.raises(ConfigError, match="^RAY_ADDRESS garbage: no Ray cluster answers there: "):
        choose_profile("auto", None, BOTH)


def test_a_job_finds_its_cluster_in_the_environment(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster(2, 0)
    monkeypatch.setenv("RAY_ADDRESS", "h:2")
    assert str(choose_profile("auto", None, BOTH)) == "cluster (the Ray cluster at h:2 has 2 GPUs)"


def test_code_reaches_workers_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that joins a cluster from outside sends the packages; a submitted job has them."""
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    sent = profiles.code_for_workers()["py_modules"]
    assert [Path(path).name for path in sent] == ["hpcm", "tuning"]
    assert all((Path(path) / "__init__.py").exists() for path in sent)
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    assert profiles.code_for_workers() == {}
