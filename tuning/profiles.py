"""Which profile of a search space runs here, and why: the first line printed and recorded."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch
import yaml
from ray._private.runtime_env.constants import RAY_JOB_CONFIG_JSON_ENV_VAR
from ray._private.services import canonicalize_bootstrap_address
from ray._private.state import state as ray_state
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import hpcm
from hpcm.schema import ConfigError

AUTO = "auto"  # the cluster of this machine
PROCESSES = Path("/proc")
SECONDS_TO_ANSWER = 10.0


@dataclass(frozen=True)
class ProfileChoice:
    """A profile and the reason for it, one line."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})"


def choose_profile(asked: str, address: str | None) -> ProfileChoice:
    """``asked``, or for "auto": cluster where Ray has or may scale to a GPU, else laptop.

    ``address`` is the cluster's, or None for this machine (then Ray is not started). Raises
    :class:`ConfigError` where no cluster answers at the address.
    """
    address = address or os.environ.get("RAY_ADDRESS") or None
    local = address in (None, "local")
    if not local and address != AUTO and not is_address(str(address)):
        raise _refusal(str(address), "not an address")
    if asked != "auto":
        return ProfileChoice(asked, "asked for with --profile")
    if address is None or local:
        gpus = torch.cuda.device_count()
        return _by_count(gpus, "this machine has", "no GPU on this machine")
    connect(address)
    gpus = int(ray.cluster_resources().get("GPU", 0))
    if gpus:
        return _by_count(gpus, f"the Ray cluster at {address} has", "")
    may = most_gpus()
    return _by_count(
        may,
        f"the Ray cluster at {address} may scale to",
        f"the Ray cluster at {address} has no GPU and its autoscaler may start none",
    )


def connect(address: str) -> None:
    """Join the Ray cluster at ``address``, once. Raises :class:`ConfigError` where none answers."""
    if ray.is_initialized():
        return
    try:
        _knock(address)
        ray.init(
            address=address,
            runtime_env=code_for_workers(),
            log_to_driver=False,
            logging_level="ERROR",
        )
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"--address {address}: no Ray cluster answers there: {reason}; "
            f"allowed: HOST:PORT of a head, auto, or leave it out for this machine{_about_tokens()}"
        ) from None


def _refusal(address: str, reason: str) -> ConfigError:
    given = "RAY_ADDRESS" if address == os.environ.get("RAY_ADDRESS") else "--address"
    return ConfigError(
        f"{given} {address}: no Ray cluster answers there: {reason}; "
        "allowed: HOST:PORT of a head, auto, or leave it out for this machine"
    )


def code_for_workers() -> dict[str, Any]:
    """This project's packages, for workers that lack them; a submitted job has brought its own."""
    if RAY_JOB_CONFIG_JSON_ENV_VAR in os.environ:
        return {}
    return {"py_modules": [str(Path(module).parent) for module in (hpcm.__file__, __file__)]}


def _about_tokens() -> str:
    """A hint where this process shows no token: a head that wants one turns it away in silence."""
    if os.environ.get("RAY_AUTH_MODE", "").lower() == "token":
        return ""
    return ". If the cluster asks for a token: export RAY_AUTH_MODE=token"


def _knock(address: str) -> None:
    """Raise OSError where nothing listens: Ray itself would try for minutes.

    Raises ValueError for what is no address at all.
    """
    if address != AUTO and not is_address(address):
        raise ValueError("not an address")
    found = canonicalize_bootstrap_address(address) or ""
    host, _, port = found.rpartition(":")
    if host:
        socket.create_connection((host, int(port)), timeout=SECONDS_TO_ANSWER).close()


def is_address(text: str) -> bool:
    """Whether ``text`` has the form of HOST:PORT; Ray would wait for a port that cannot be."""
    found = re.fullmatch(r"[^\s:/]+:(\d{1,5})", text) or re.fullmatch(
        r"\[[^\s/]+\]:(\d{1,5})", text
    )
    return found is not None and 0 < int(found[1]) < 2**16


def most_gpus() -> int:
    """The GPUs that the autoscaler of the connected cluster may start in all.

    A cluster manager may have told Ray; Ray's own autoscaler keeps the number in the file with
    which the head was started, so the head is asked.
    """
    told: dict[str, int] | None = ray_state.get_max_resources_from_cluster_config()
    if told:
        return int(told.get("GPU", 0))
    return _on_head(gpus_in_autoscaler_file)


def gpus_in_autoscaler_file() -> int:
    """The GPUs that the autoscaler running on this machine may start; 0 without one."""
    flag = "--autoscaling-config="
    for process in PROCESSES.glob("[0-9]*/cmdline"):
        try:
            words = process.read_text(errors="replace").split("\0")
        except OSError:  # it ended meanwhile, or is another user's
            continue
        for file in (Path(w.removeprefix(flag)) for w in words if w.startswith(flag)):
            if file.is_file():
                return gpus_of_node_types(yaml.safe_load(file.read_text()))
    return 0


def gpus_of_node_types(config: Any) -> int:
    """The GPUs that a cluster file allows: of all its node types, capped by ``max_workers``."""
    limit = int(config.get("max_workers", 2**31))
    head = config.get("head_node_type")
    total = 0
    for name, kind in (config.get("available_node_types") or {}).items():
        count = 1 if name == head else min(limit, int(kind.get("max_workers", limit)))
        total += count * int((kind.get("resources") or {}).get("GPU", 0))
    return total


def _on_head(function: Callable[[], int]) -> int:
    """``function()`` on the head node: here, or as a Ray task that needs no resources there."""
    here = ray.get_runtime_context().get_node_id()
    heads = [
        node["NodeID"]
        for node in ray.nodes()
        if node["Alive"] and "node:__internal_head__" in node["Resources"]
    ]
    if not heads or here in heads:
        return function()
    where = NodeAffinitySchedulingStrategy(heads[0], soft=False)
    task = ray.remote(num_cpus=0, scheduling_strategy=where)(function)
    return int(ray.get(task.remote(), timeout=120))


def _by_count(gpus: int, having: str, without: str) -> ProfileChoice:
    if gpus:
        return ProfileChoice("cluster", f"{having} {gpus} GPU{'s' if gpus > 1 else ''}")
    return ProfileChoice("laptop", without)
