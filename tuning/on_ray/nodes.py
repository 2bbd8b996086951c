"""Nodes on which trials keep failing: noticed, and not used any more by this search.

A node that breaks every trial in seconds is always free, so it would get trial after trial. After
the failures of several trials with no new epoch in between it is drained: Ray's label selectors
(`ray.io/node-id`) place what is added from then on elsewhere. The node stays in the cluster, the
trials that run on it go on, and nothing is drained if no other node could run a trial.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import ray
from ray import tune

from tuning.ledger.failures import Failure
from tuning.on_ray.private_api import available_resources
from tuning.spaces.sections import Resources

NODE_LABEL = "ray.io/node-id"
ROUNDING = 1e-9  # Ray counts in ten-thousandths


@dataclass
class NodeTable:
    """What happened on each node in this session; nodes by Ray's ids."""

    need: Resources
    limit: int | None  # trials that fail in a row before a node is drained; None: it never is
    known: Callable[[], list[dict[str, Any]]] = ray.nodes
    free: Callable[[], Mapping[str, Mapping[str, float]]] = available_resources
    drained: dict[str, str] = field(default_factory=dict)  # node: the last reason
    broken: dict[str, set[int]] = field(default_factory=dict)  # node: trials since the last epoch

    def failed(self, node: str, trial: int, failure: Failure) -> bool:
        """Note a failure; whether the node is drained by it."""
        if not failure.policy.blames_node or node in self.drained:
            return False
        trials = self.broken.setdefault(node, set())
        trials.add(trial)
        limit = 1 if failure.kind == "node_unfit" else self.limit
        if limit is None or len(trials) < limit or not self.others({node, *self.drained}):
            return False
        self.drained[node] = failure.text
        return True

    def worked(self, node: str) -> None:
        """A trial reported a new epoch from there."""
        self.broken.pop(node, None)

    def others(self, avoided: Collection[str], free_now: bool = False) -> list[str]:
        """Live nodes besides these that can run a trial at all, or at this moment."""
        available = self.free() if free_now else {}
        found = []
        for node in self.known():
            name = node["NodeID"]
            has = available.get(name, {}) if free_now else node["Resources"]
            if node["Alive"] and name not in avoided and self._fits(has):
                found.append(name)
        return found

    def to_avoid(self, failed_on: str | None, wait: bool = False) -> list[str]:
        """The nodes that must not get a trial: drained ones, and the one on which it failed.

        The latter only if another node has room now, or with ``wait`` if there is another at all.
        Empty if that would leave no node: a trial that waits for ever is worse.
        """
        avoided = set(self.drained)
        if avoided and not self.others(avoided):
            avoided = set()
        if failed_on is not None and self.others({failed_on, *avoided}, free_now=not wait):
            avoided.add(failed_on)
        return sorted(avoided)

    def name(self, node: str) -> str:
        """The name that people know: its host."""
        for known in self.known():
            if known["NodeID"] == node:
                return str(known.get("NodeManagerHostname") or known["NodeManagerAddress"])
        return node[:12]

    def _fits(self, has: Mapping[str, float]) -> bool:
        cpu, gpu = has.get("CPU", 0.0) + ROUNDING, has.get("GPU", 0.0) + ROUNDING
        return cpu >= self.need.cpu and gpu >= self.need.gpu


def request(cpu: float, gpu: float, avoided: Collection[str]) -> tune.PlacementGroupFactory:
    """Room for one trial, on none of the nodes ``avoided``."""
    bundles = [{"CPU": cpu, "GPU": gpu}]
    if not avoided:
        return tune.PlacementGroupFactory(bundles)
    selector = {NODE_LABEL: f"!in({','.join(sorted(avoided))})"}
    return tune.PlacementGroupFactory(bundles, bundle_label_selector=[selector])
