"""Processes that stand by: PyTorch is imported in them before a trial needs one.

A trial's process computes for seconds before its first step, and its GPU waits. Ray gives an actor
a process of its job and runtime environment that has run nothing yet, where its node has one, and
a node starts one when it is asked to (`PrestartWorkers`). What a process imports at its start is
said by `RAY_preload_python_modules`, which a node reads when it is started itself
(tuning/clusters/cluster.py, deploy/node_env.sh); without it less is saved. Where no process stands
by a trial starts as it does in stock Ray: nothing depends on it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import ray
from ray import tune
from ray._private import state as ray_state
from ray._private.grpc_utils import init_grpc_channel
from ray.core.generated.common_pb2 import Language
from ray.core.generated.gcs_pb2 import ActorTableData
from ray.core.generated.node_manager_pb2 import PrestartWorkersRequest
from ray.core.generated.node_manager_pb2_grpc import NodeManagerServiceStub
from ray.tune.experiment import Trial

logger = logging.getLogger(__name__)

KEPT = 24 * 3600  # seconds for which a process stands by; then Ray may end it
TIMEOUT = 10.0  # seconds for a node to answer; nobody waits for it


class StandBy(tune.Callback):
    """One process for each trial that runs: it takes one, and another is started in its place."""

    def __init__(self, replace: Callable[[Any], None] | None = None) -> None:
        self._replace = replace or start_another
        self._works = True

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """It has a process."""
        actor = trial.temporary_state.ray_actor
        if actor is None or not self._works:
            return
        try:
            self._replace(actor)
        except Exception:  # of Ray's inner parts, any; trials then start as in stock Ray
            self._works = False
            logger.warning("no process stands by for the next trials", exc_info=True)


def start_another(actor: Any) -> None:
    """Ask the node of ``actor`` for a process that the next one like it can take; do not wait."""
    accessor = ray_state.state._connect_and_get_accessor()
    found = accessor.get_actor_info(actor._actor_id)
    if found is None:
        return
    record = ActorTableData.FromString(found)
    request = PrestartWorkersRequest(
        language=Language.PYTHON,
        job_id=record.job_id,
        keep_alive_duration_secs=KEPT,
        num_workers=1,
    )
    request.runtime_env_info.serialized_runtime_env = record.serialized_runtime_env or "{}"
    for node in ray.nodes():
        if node["NodeID"] == record.address.node_id.hex() and node["Alive"]:
            channel = init_grpc_channel(f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}")
            raylet = NodeManagerServiceStub(channel)
            answer = raylet.PrestartWorkers.future(request, timeout=TIMEOUT)
            answer.add_done_callback(lambda _, channel=channel: channel.close())
