"""What the autoscaler of a cluster may still start: which nodes, and how many.

A cluster manager may have told Ray. Ray's own autoscaler has its node types in the file with which
the head was started, KubeRay's in the RayCluster, so the head is asked.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import ray
import yaml
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tuning.on_ray import private_api

PROCESSES = Path("/proc")
FILE, HEAD = "--autoscaling-config=", "--gcs-address="  # words of the autoscaler's command line
IN_A_POD = "RAY_CLUSTER_NAME"  # an environment variable that KubeRay sets
NO_LIMIT = 2**31


@dataclass(frozen=True)
class NodeType:
    """A kind of node that may be started."""

    name: str
    most: int  # nodes of it
    resources: Mapping[str, float] = field(default_factory=dict)  # of one node: {"CPU": 8, ..}


@dataclass(frozen=True)
class Autoscaling:
    """The node types of an autoscaler, and how many nodes it may start of all together."""

    types: tuple[NodeType, ...] = ()
    most_nodes: int = NO_LIMIT

    def most(self, held: Callable[[Mapping[str, float]], int]) -> int:
        """The most that its nodes hold together, if one holds ``held(resources)``."""
        left, total = self.most_nodes, 0
        for kind in sorted(self.types, key=lambda kind: held(kind.resources), reverse=True):
            nodes = min(left, kind.most)
            left -= nodes
            total += nodes * held(kind.resources)
        return total

    @property
    def gpus(self) -> int:
        """The most GPUs that it may start."""
        return self.most(lambda resources: int(resources.get("GPU", 0)))

    def __str__(self) -> str:
        """``gpu: 8 x 1 GPU and 8 CPU``, of all types."""
        texts = [
            f"{kind.name}: {kind.most} x {kind.resources.get('GPU', 0):g} GPU and"
            f" {kind.resources.get('CPU', 0):g} CPU"
            for kind in self.types
        ]
        return ", ".join(texts)


def autoscaling() -> Autoscaling:
    """What the autoscaler of the connected cluster may start; nothing if it has none."""
    groups = private_api.node_groups()
    if groups:
        return of_node_groups(groups)
    port = ray.get_runtime_context().gcs_address.rpartition(":")[2]
    return _on_head(partial(autoscaling_of_this_machine, port))


def of_node_groups(groups: Any) -> Autoscaling:
    """From the groups of nodes that a cluster manager tells Ray; -1 nodes are any number."""
    return Autoscaling(
        tuple(
            NodeType(
                group.name,
                NO_LIMIT if group.max_count < 0 else group.max_count,
                {name: float(count) for name, count in group.resources.items()},
            )
            for group in groups
        )
    )


def autoscaling_of_this_machine(port: str) -> Autoscaling:
    """The same of the head on ``port`` here: from its RayCluster, or its autoscaler's file."""
    if IN_A_POD in os.environ:
        from tuning.on_ray import kuberay  # only in a pod: it reads the pod's environment

        found = kuberay.cluster_file()
        return Autoscaling() if found is None else of_file(found)
    for process in PROCESSES.glob("[0-9]*/cmdline"):
        try:
            words = process.read_text(errors="replace").split("\0")
        except OSError:  # it ended meanwhile, or is another user's
            continue
        heads = [word for word in words if word.startswith(HEAD) and word.endswith(f":{port}")]
        files = [Path(word.removeprefix(FILE)) for word in words if word.startswith(FILE)]
        if heads and files and files[0].is_file():
            return of_file(yaml.safe_load(files[0].read_text()))
    return Autoscaling()


def of_file(config: Any) -> Autoscaling:
    """From a cluster file; ``max_workers`` bounds all types together, the head is there already."""
    limit = int(config.get("max_workers", NO_LIMIT))
    types = config.get("available_node_types") or {}
    return Autoscaling(
        tuple(
            NodeType(
                name,
                min(limit, int(kind.get("max_workers", limit))),
                {key: float(count) for key, count in (kind.get("resources") or {}).items()},
            )
            for name, kind in types.items()
            if name != config.get("head_node_type")
        ),
        limit,
    )


def _on_head(function: Callable[[], Autoscaling]) -> Autoscaling:
    """``function()`` on the head node: here, or as a Ray task that needs no resources there."""
    here = ray.get_runtime_context().get_node_id()
    heads = [
        node["NodeID"]
        for node in ray.nodes()
        if node["Alive"] and "node:__internal_head__" in node["Resources"]
    ]
    if not heads or here in heads:
        return function()
    on_head = NodeAffinitySchedulingStrategy(heads[0], soft=False)
    ask = ray.remote(num_cpus=0, scheduling_strategy=on_head)(lambda: function())
    found: Autoscaling = ray.get(ask.remote(), timeout=120)
    return found
