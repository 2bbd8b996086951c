"""Every node of the cluster asked, before an experiment exists, for its code, data and folders."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from hpcm import ConfigError
from tuning.faults.node_facts import Inputs, Reference, differences, node_facts
from tuning.spaces.sections import Resources

SECONDS = 300.0  # in which a node has to answer: it starts a process and reads all image headers
MARKER = ".hpcm-node-check-"


def check_nodes(inputs: Inputs, need: Resources, storage: Path) -> Reference:
    """Compare every node that may run a trial with this one, and let it write to ``storage``.

    One node of each address is asked; those that share this machine's are taken as it. Raises
    :class:`ConfigError` with a line for each node that differs, does not see the folder, or does
    not answer.
    """
    mine = node_facts(inputs)
    here = ray.util.get_node_ip_address()
    others = others_that_fit(ray.nodes(), need, here)
    answers = _ask(others, inputs, storage) if others else {}
    problems = [
        f"  {others[address]['NodeManagerHostname']} ({address}): {problem}"
        for address, (facts, seen) in answers.items()
        for problem in [*differences(mine, facts), *([seen] if seen else [])]
    ]
    if problems:
        told = "\n".join(problems)
        raise ConfigError(
            f"the nodes of the cluster differ from this one, {os.uname().nodename}:\n{told}\n"
            "install the same code and data on all of them, or take the nodes out of the cluster"
        )
    return Reference(inputs, mine, frozenset({here, *answers}))


def others_that_fit(
    nodes: Sequence[Mapping[str, Any]], need: Resources, here: str
) -> dict[str, Mapping[str, Any]]:
    """Live nodes by address, this one left out, whose resources are enough for a trial."""
    return {
        node["NodeManagerAddress"]: node
        for node in nodes
        if node["Alive"]
        and node["NodeManagerAddress"] != here
        and node["Resources"].get("GPU", 0.0) >= need.gpu
        and node["Resources"].get("CPU", 0.0) >= need.cpu
    }


def look_around(inputs: Inputs, storage: str, token: str) -> tuple[dict[str, str], str]:
    """On a node: its facts, and what is wrong with the folder, or nothing."""
    marker = Path(storage) / f"{MARKER}{token}"
    try:
        if marker.read_text() != token:
            return node_facts(inputs), f"{storage} is another folder there"
        own = Path(f"{marker}-{secrets.token_hex(4)}")
        own.write_text(token)
        own.unlink()
    except FileNotFoundError:
        return node_facts(inputs), f"{storage} is not there, or not the same folder"
    except OSError as error:
        return node_facts(inputs), f"{storage} cannot be written to: {error.strerror}"
    return node_facts(inputs), ""


def _ask(
    nodes: Mapping[str, Mapping[str, Any]], inputs: Inputs, storage: Path
) -> dict[str, tuple[dict[str, str], str]]:
    """By address: what the nodes say; all at once."""
    made = not storage.exists()
    token = secrets.token_hex(8)
    marker = storage / f"{MARKER}{token}"
    remote = ray.remote(num_cpus=0, max_retries=0)(look_around)
    try:
        storage.mkdir(parents=True, exist_ok=True)
        marker.write_text(token)
        asked = {
            address: remote.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            ).remote(inputs, str(storage), token)
            for address, node in nodes.items()
        }
        ray.wait(list(asked.values()), num_returns=len(asked), timeout=SECONDS)
        return {address: _answer(reference) for address, reference in asked.items()}
    finally:
        marker.unlink(missing_ok=True)
        if made:
            with contextlib.suppress(OSError):
                storage.rmdir()


def _answer(reference: Any) -> tuple[dict[str, str], str]:
    try:
        found: tuple[dict[str, str], str] = ray.get(reference, timeout=0)
        return found
    except TimeoutError:
        ray.cancel(reference)
        return {}, f"no answer in {SECONDS:.0f} s"
    except RayError as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        return {}, f"cannot run anything: {lines[-1].strip()[:300]}"
