"""Every node of the cluster asked, before an experiment exists, for its code, data and folders."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from hpcm import ConfigError
from tuning.checkpoints.places import checkpoint_place, local_folder
from tuning.on_ray.node_facts import Facts, Inputs, Reference, code_facts, differences, node_facts
from tuning.spaces.sections import Resources

SECONDS = 300.0  # in which a node has to answer: it starts a process and reads all image headers
MARKER = ".hpcm-node-check-"
Answer: TypeAlias = tuple[dict[str, str], list[str]]  # of a node: its facts, what is wrong there


@dataclass(frozen=True)
class SharedPaths:
    """What every node has to write to: folders that all see as one, and an object store's URL."""

    folders: tuple[Path, ...]
    store: str | None = None

    @classmethod
    def of(cls, storage: Path, checkpoints: str | None) -> SharedPaths:
        """The folder of the experiments, and where `--checkpoints` puts theirs."""
        folder = local_folder(checkpoints, storage)
        if folder is None:
            return cls((storage,), checkpoints)
        return cls(tuple(dict.fromkeys((storage, folder))))


def check_nodes(inputs: Inputs, read: Facts, need: Resources, paths: SharedPaths) -> Reference:
    """Compare every node that may run a trial with this one, and let it write to ``paths``.

    One node of each address is asked; those that share this machine's are taken as it. Raises
    :class:`ConfigError` with a line for each node that differs, does not see a folder, does not
    reach the store, or does not answer.
    """
    mine = {**code_facts(), **read}
    here = ray.util.get_node_ip_address()
    others = others_that_fit(ray.nodes(), need, here)
    answers = _ask(others, inputs, paths) if others else {}
    problems = [
        f"  {others[address]['NodeManagerHostname']} ({address}): {problem}"
        for address, (facts, seen) in answers.items()
        for problem in [*differences(mine, facts), *seen]
    ]
    if problems:
        lines = "\n".join(problems)
        raise ConfigError(
            f"the nodes of the cluster differ from this one, {os.uname().nodename}:\n{lines}\n"
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


def look_around(inputs: Inputs, paths: SharedPaths, token: str) -> Answer:
    """On a node: its facts, and what is wrong with the paths."""
    seen = [_folder_problem(folder, token) for folder in paths.folders]
    if paths.store is not None:
        seen.append(_store_problem(paths.store))
    return node_facts(inputs), [problem for problem in seen if problem]


def _folder_problem(folder: Path, token: str) -> str:
    marker = folder / f"{MARKER}{token}"
    try:
        if marker.read_text() != token:
            return f"{folder} is another folder there"
        own = Path(f"{marker}-{secrets.token_hex(4)}")
        own.write_text(token)
        own.unlink()
    except FileNotFoundError:
        return f"{folder} is not there, or not the same folder"
    except OSError as error:
        return f"{folder} cannot be written to: {error.strerror}"
    return ""


def _store_problem(store: str) -> str:
    try:
        checkpoint_place(store)
    except ConfigError as error:
        return str(error)
    return ""


def _ask(
    nodes: Mapping[str, Mapping[str, Any]], inputs: Inputs, paths: SharedPaths
) -> dict[str, Answer]:
    """The answers of the nodes by address; all are asked at once."""
    token = secrets.token_hex(8)
    remote = ray.remote(num_cpus=0, max_retries=0)(look_around)
    with contextlib.ExitStack() as marked:
        for folder in paths.folders:
            marked.enter_context(_marked(folder, token))
        asked = {
            address: remote.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            ).remote(inputs, paths, token)
            for address, node in nodes.items()
        }
        ray.wait(list(asked.values()), num_returns=len(asked), timeout=SECONDS)
        return {address: _answer(reference) for address, reference in asked.items()}


@contextlib.contextmanager
def _marked(folder: Path, token: str) -> Iterator[None]:
    """A file in it by which other nodes recognise it; what was made for that is removed."""
    made = not folder.exists()
    marker = folder / f"{MARKER}{token}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        marker.write_text(token)
        yield
    finally:
        marker.unlink(missing_ok=True)
        if made:
            with contextlib.suppress(OSError):
                folder.rmdir()


def _answer(reference: Any) -> Answer:
    try:
        found: Answer = ray.get(reference, timeout=0)
        return found
    except TimeoutError:
        ray.cancel(reference)
        return {}, [f"no answer in {SECONDS:.0f} s"]
    except RayError as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        return {}, [f"cannot run anything: {lines[-1].strip()[:300]}"]
