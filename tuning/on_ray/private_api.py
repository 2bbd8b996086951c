"""Everything of Ray that its documentation does not promise; checked with Ray 2.60.0.

An upgrade of Ray is made here: `PRIVATE` lists each name with what it is for and what breaks
without it, and a test looks all of them up in the installed Ray.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import ray
from ray._private import ray_constants, services
from ray._private import state as ray_state
from ray._private.authentication import authentication_token_setup as token_setup
from ray._private.runtime_env.constants import RAY_JOB_CONFIG_JSON_ENV_VAR
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import OutOfMemoryError, RayActorError, RayError, RayTaskError
from ray.tune.execution import class_cache
from ray.tune.experiment import Trial

from tuning.on_ray.diagnosis import KilledForMemoryError

RAY_VERSION = "2.60.0"
KUBERAY = "ray.autoscaler._private.kuberay"
MANAGER = "ray.air.execution._internal.actor_manager.RayActorManager"
CONTROLLER = "ray.tune.execution.tune_controller.TuneController"
PRIVATE = {
    "ray._private.state.actors": "the node of a trial's process; else no node is ever drained",
    "ray._private.state.available_resources_per_node": "which node has room now; else a retry may"
    " wait for a full node",
    "ray._private.state.state.get_cluster_config": "what a cluster manager lets the autoscaler"
    " start; else its GPUs are not counted",
    "ray._private.services.ConsolePopen": "Ray's processes in groups of their own; else a signal to"
    " our group ends them and no trial saves",
    "ray._private.services.canonicalize_bootstrap_address": "the head that `auto` means; else a"
    " wrong address is tried for minutes",
    "ray._private.ray_constants.ENABLE_RAY_CLUSTER": "loopback on one machine; else Ray listens on"
    " the network",
    "ray._private.runtime_env.constants.RAY_JOB_CONFIG_JSON_ENV_VAR": "whether a submitted job has"
    " brought its code; else it is sent twice",
    "ray._private.authentication.authentication_token_setup.AuthenticationTokenLoader": "whether"
    " Ray has a token; else it makes one that all users of the machine can read",
    "ray._private.authentication.authentication_token_setup.generate_and_save_token": "the same",
    "ray._private.authentication.authentication_token_setup._get_default_token_path": "the same",
    "ray.tune.execution.class_cache.ENV_VARS_TO_PROPAGATE": "what Tune writes into the runtime"
    " environment of trials; else keys of AWS are in Ray's logs, which all users can read",
    f"{MANAGER}._actor_task_failed": "a process that the memory monitor killed; else it ends the"
    " search",
    f"{MANAGER}._actor_start_failed": "the same, while the process starts",
    f"{KUBERAY}.autoscaling_config._derive_autoscaling_config_from_ray_cr": "what KubeRay may"
    " start; else a space takes the laptop profile there",
    f"{KUBERAY}.node_provider.KubernetesHttpApiClient": "the same",
    "ray.actor.ActorHandle._actor_id": "which process a trial has, to ask for its node",
    "ray.exceptions.RayTaskError._actor_id": "which process raised an error, to ask for its node",
    f"{CONTROLLER}._trial_to_actor": "a process that never starts; else it holds its device for"
    " ever",
    f"{CONTROLLER}._actor_manager": "the same",
    f"{MANAGER}._pending_actors_to_attrs": "whether a process was only asked for; else a trial"
    " waits for ever for nodes that are gone",
    f"{MANAGER}._live_actors_to_ray_actors_resources": "the process that never starts, to kill it",
}
#: Ray's variables that no page of its documentation names, in our process and in those it starts.
ENVIRONMENT = {
    "RAY_TRAIN_COUNT_PREEMPTION_AS_FAILURE": "1",  # else Ray starts such a trial again itself
    "RAY_prestart_worker_first_driver": "0",  # no process for every core of the machine
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # signals are ours, see tuning/on_ray/closing.py
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # they are in the ledger and in error.txt
}
#: On one machine nothing listens on the network, whatever its addresses are.
LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


def node_of_trial(trial: Trial) -> str | None:
    """The node on which the process of one of Ray's trials runs; None: it has none."""
    actor = trial.temporary_state.ray_actor
    return None if actor is None else node_of_actor(actor._actor_id.hex())


def node_of_error(error: BaseException | None) -> str | None:
    """The node of the process that an exception names; None: it names none."""
    actor = getattr(error, "actor_id", None) or getattr(error, "_actor_id", None)
    return node_of_actor(str(actor)) if actor else None


def node_of_actor(actor: str) -> str | None:
    """The node that an actor runs or ran on, by Ray's record of it."""
    if not ray.is_initialized():
        return None
    found: dict[str, Any] = ray_state.actors(actor)
    return found.get("Address", {}).get("NodeID") or None


def available_resources() -> Mapping[str, Mapping[str, float]]:
    """What is free on each node at this moment, by Ray's id of it."""
    found: Mapping[str, Mapping[str, float]] = ray_state.available_resources_per_node()
    return found


def has_actor(controller: Any, trial: Trial) -> bool:
    """Whether the process of a waiting trial exists already, and not only Ray's request for it."""
    actor = controller._trial_to_actor.get(trial)
    return actor is not None and actor not in controller._actor_manager._pending_actors_to_attrs


def starting_actor(controller: Any, trial: Trial) -> Any:
    """The actor that Ray starts for a waiting trial; None while there is no room for it."""
    actor = controller._trial_to_actor.get(trial)
    manager = controller._actor_manager
    return manager._live_actors_to_ray_actors_resources.get(actor, (None,))[0]


def node_groups() -> Any:
    """The groups of nodes that a cluster manager told Ray of; empty if there is none."""
    found = ray_state.state.get_cluster_config()
    return () if found is None else found.node_group_configs


def bootstrap_address(address: str) -> str:
    """HOST:PORT of the head that an address means; "" if there is none."""
    return services.canonicalize_bootstrap_address(address) or ""


def in_a_submitted_job() -> bool:
    """Whether this process was started by `ray job submit`, which has brought its code."""
    return RAY_JOB_CONFIG_JSON_ENV_VAR in os.environ


def ray_cluster_file(cluster: Mapping[str, Any]) -> dict[str, Any]:
    """A RayCluster of Kubernetes in the form of a cluster file."""
    from ray.autoscaler._private.kuberay.autoscaling_config import (
        _derive_autoscaling_config_from_ray_cr,
    )

    found: dict[str, Any] = _derive_autoscaling_config_from_ray_cr(cluster)
    return found


def kubernetes(namespace: str) -> Any:
    """A client of the Kubernetes that this pod runs in."""
    from ray.autoscaler._private.kuberay.node_provider import KubernetesHttpApiClient

    return KubernetesHttpApiClient(namespace)


@contextlib.contextmanager
def loopback_and_own_groups() -> Iterator[None]:
    """Ray that is started meanwhile listens on loopback, in process groups of its own.

    So a signal to our group, from a terminal, `timeout` or a batch system, reaches only us, and
    trials can still save. Ray's processes end with us all the same: it asks the kernel to kill them
    with their parent.
    """
    os.environ[LOOPBACK] = "0"
    ray_constants.ENABLE_RAY_CLUSTER = False  # read from the environment when Ray was imported
    stock = services.ConsolePopen
    services.ConsolePopen = partial(stock, process_group=0)
    try:
        yield
    finally:
        services.ConsolePopen = stock


def make_token_private(create: bool) -> None:
    """No other user of the machine reads Ray's token; with ``create`` it is made if there is none.

    Ray makes `~/.ray/auth_token` as the umask says, so that usually every user can read it.
    """
    path = token_setup._get_default_token_path()
    loader = token_setup.AuthenticationTokenLoader.instance()
    needed = os.environ.get("RAY_AUTH_MODE", "token").lower() == "token"
    if create and needed and not loader.has_token(ignore_auth_mode=True):
        before = os.umask(0o077)
        try:
            token_setup.generate_and_save_token()
        finally:
            os.umask(before)
        loader.reset_cache()
    with contextlib.suppress(OSError):  # there is none, or it is another user's
        path.chmod(stat.S_IMODE(path.stat().st_mode) & 0o700)


@contextlib.contextmanager
def keys_kept_out_of_the_runtime_environment() -> Iterator[None]:
    """Tune copies no variable of AWS into the runtime environment of trials meanwhile.

    Ray writes that environment into its logs in clear, which all users of the machine can read. On
    one machine the processes of trials have the variables all the same: they inherit them.
    """
    names = class_cache.ENV_VARS_TO_PROPAGATE
    keys = {name for name in names if name.startswith("AWS_")}
    names -= keys
    try:
        yield
    finally:
        names |= keys


@contextlib.contextmanager
def patched_actor_manager() -> Iterator[None]:
    """A process that Ray's memory monitor kills fails its trial, and not the search.

    Ray gives the driver `OutOfMemoryError` for it, which is no `RayActorError`; Tune's actor
    manager takes that for impossible and ends the whole search with a `RuntimeError`
    (`RayActorManager._actor_task_failed`). If it happens while the process starts, the trial fails,
    and no exception is kept.
    """
    task, start = RayActorManager._actor_task_failed, RayActorManager._actor_start_failed

    def task_failed(self: Any, tracked_actor_task: Any, exception: Exception) -> None:
        task(self, tracked_actor_task, as_process_death(exception))

    def start_failed(self: Any, tracked_actor: Any, exception: Exception) -> None:
        start(self, tracked_actor, as_process_death(exception))

    RayActorManager._actor_task_failed = task_failed
    RayActorManager._actor_start_failed = start_failed
    try:
        yield
    finally:
        RayActorManager._actor_task_failed = task
        RayActorManager._actor_start_failed = start


def as_process_death(error: Exception) -> Exception:
    """``error`` as Tune can handle it: as the death of an actor if it is neither that nor ours.

    All others are given back as they are.
    """
    if isinstance(error, RayActorError | RayTaskError) or not isinstance(error, RayError):
        return error
    kind = KilledForMemoryError if isinstance(error, OutOfMemoryError) else RayActorError
    death: Exception = kind(error_msg=f"{type(error).__name__}: {error}")
    return death
