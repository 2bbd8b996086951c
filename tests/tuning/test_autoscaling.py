"""What an autoscaler may start, read from its file and from what a cluster manager tells."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from tuning import autoscaling
from tuning.autoscaling import NO_LIMIT, Autoscaling, NodeType, of_file, of_node_groups

ROOT = Path(__file__).parents[2]


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
