"""What an autoscaler may start, read from its file and from what a cluster manager tells."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
import yaml

from hpcm import ConfigError
from tuning.on_ray import autoscaling, private_api
from tuning.on_ray.autoscaling import NO_LIMIT, Autoscaling, NodeType, of_file, of_node_groups

ROOT = Path(__file__).parents[3]
Answer = dict[str, Any] | Exception


@pytest.mark.parametrize(
    ("config", "gpus"),
    [
        ({}, 0),
        ({"available_node_types": {"cpu": {"resources": {"CPU": 4}}}}, 0),
        (
            {
                "head_node_type": "head",
                "max_workers": 6,
                "available_node_types": {
                    "head": {"resources": {"CPU": 4, "GPU": 8}},  # is there already
                    "more": {"resources": {"GPU": 1}, "max_workers": 100},
                    "gpu": {"resources": {"CPU": 8, "GPU": 4}, "max_workers": 3},
                },
            },
            3 * 4 + 3 * 1,  # six nodes of both types together
        ),
    ],
)
def test_gpus_of_a_cluster_file(config: dict[str, Any], gpus: int) -> None:
    assert of_file(config).gpus == gpus


def test_the_shipped_cluster_file() -> None:
    found = of_file(yaml.safe_load((ROOT / "cluster.yaml").read_text()))
    assert str(found) == "gpu: 8 x 1 GPU and 8 CPU"
    assert found.gpus == 8


def test_node_groups_of_a_cluster_manager() -> None:
    groups = [
        SimpleNamespace(name="gpu", max_count=3, resources={"CPU": 8, "GPU": 2}),
        SimpleNamespace(name="cpu", max_count=-1, resources={"CPU": 4}),
    ]
    found = of_node_groups(groups)
    assert found.types[1] == NodeType("cpu", NO_LIMIT, {"CPU": 4.0})
    assert found.gpus == 6
    assert found.most(lambda resources: int(resources["CPU"] >= 8)) == 3


def test_the_running_autoscaler_names_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And only that of this cluster counts: another head on the machine has another port."""
    for port, most in ((6379, 2), (7000, 5)):
        file = tmp_path / f"{port}.yaml"
        kinds = {"gpu": {"resources": {"GPU": 8}, "max_workers": most}}
        file.write_text(yaml.safe_dump({"available_node_types": kinds}))
        process = tmp_path / "proc" / str(port)
        process.mkdir(parents=True)
        words = ["python", "monitor.py", f"--gcs-address=10.0.0.1:{port}"]
        (process / "cmdline").write_text("\0".join([*words, f"--autoscaling-config={file}"]))
    monkeypatch.setattr(autoscaling, "PROCESSES", tmp_path / "proc")
    assert autoscaling.autoscaling_of_this_machine("6379").gpus == 16
    assert autoscaling.autoscaling_of_this_machine("7000").gpus == 40
    assert autoscaling.autoscaling_of_this_machine("1") == Autoscaling()


# --- KubeRay -------------------------------------------------------------------------------------


@pytest.fixture
def kubernetes(monkeypatch: pytest.MonkeyPatch) -> Callable[[Answer], list[str]]:
    """``kubernetes(answer)``: this process is in a pod; gives what the API was asked for."""

    def make(answer: Answer) -> list[str]:
        asked: list[str] = []

        class Client:
            def __init__(self, namespace: str) -> None:
                self.namespace = namespace

            def get(self, path: str) -> dict[str, Any]:
                asked.append(f"{self.namespace}/{path}")
                if isinstance(answer, Exception):
                    raise answer
                return answer

        monkeypatch.setattr(private_api, "kubernetes", Client)
        monkeypatch.setenv("RAY_CLUSTER_NAME", "hpcm-tune")
        monkeypatch.setenv("RAY_CLUSTER_NAMESPACE", "search")
        return asked

    return make


def ray_cluster(**changes: Any) -> dict[str, Any]:
    """The shipped RayCluster as Kubernetes has it."""
    items = yaml.safe_load((ROOT / "deploy/kuberay.yaml").read_text())["items"]
    (found,) = (item for item in items if item["kind"] == "RayCluster")
    found["metadata"]["namespace"] = "search"
    found["spec"] |= changes
    return dict(found)


def http_error(status: int) -> Exception:
    response = requests.Response()
    response.status_code = status
    return requests.HTTPError("refused", response=response)


def test_the_shipped_ray_cluster(kubernetes: Any) -> None:
    """Its groups begin with no pod at all, and KubeRay's autoscaler tells Ray nothing of them."""
    asked = kubernetes(ray_cluster())
    found = autoscaling.autoscaling_of_this_machine("6379")
    assert str(found) == "gpu: 8 x 1 GPU and 8 CPU"
    assert asked == ["search/rayclusters/hpcm-tune"]


@pytest.mark.parametrize(
    "answer",
    [ray_cluster(enableInTreeAutoscaling=False), http_error(403), FileNotFoundError("no token")],
)
def test_a_ray_cluster_that_does_not_scale(kubernetes: Any, answer: Answer) -> None:
    kubernetes(answer)
    assert autoscaling.autoscaling_of_this_machine("6379") == Autoscaling()


@pytest.mark.parametrize("answer", [http_error(500), requests.ConnectionError("no route")])
def test_kubernetes_that_does_not_answer_is_told(kubernetes: Any, answer: Answer) -> None:
    """A search on the wrong profile would be worse."""
    kubernetes(answer)
    with pytest.raises(ConfigError, match="does not say what RayCluster hpcm-tune may start"):
        autoscaling.autoscaling_of_this_machine("6379")
