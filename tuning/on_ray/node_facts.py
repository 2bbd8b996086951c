"""What has to be the same on every node for trials to be compared: the code and the data.

The driver's facts travel with the trials. A node that an autoscaler started later is looked at when
its first trial starts; one that differs is unfit, and its trials go elsewhere.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import ray

import hpcm
from hpcm import ConfigError, TrainConfig, starting_point
from hpcm.evaluation.image_sets import image_set
from tuning.on_ray.diagnosis import NodeUnfitError

Facts = Mapping[str, str]


@dataclass(frozen=True)
class Inputs:
    """What trials read, by name: image sets and weights."""

    sets: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()

    @classmethod
    def of(cls, configs: Collection[TrainConfig]) -> Inputs:
        """All that these run configs read."""
        sets = {name for cfg in configs for name in (cfg.data.train, cfg.data.val) if name}
        weights = {cfg.start_from for cfg in configs if cfg.start_from is not None}
        return cls(tuple(sorted(sets)), tuple(sorted(weights)))


@dataclass(frozen=True)
class Reference:
    """The driver's facts, and the addresses of the nodes that were found to agree with them."""

    inputs: Inputs
    facts: Facts
    agreed: frozenset[str]

    def check(self) -> None:
        """Raise :class:`NodeUnfitError` if this node differs; cheap if it was checked before."""
        if ray.util.get_node_ip_address() not in self.agreed:
            self.recheck(facts_of(self.inputs))

    def recheck(self, here: Facts | None = None) -> None:
        """The same with the disk read again: a mount may have been lost since."""
        found = differences(self.facts, node_facts(self.inputs) if here is None else here)
        if found:
            raise NodeUnfitError(f"{platform.node()}: {'; '.join(found)}")


def node_facts(inputs: Inputs) -> dict[str, str]:
    """This machine's facts; an input that cannot be read is one too."""
    return code_facts() | input_facts(inputs)


def code_facts() -> dict[str, str]:
    """What computes here: Python, the packages that decide numbers, and our own code."""
    return {
        "python": ".".join(platform.python_version_tuple()[:2]),
        "torch": _release("torch"),
        "numpy": _release("numpy"),
        "code of hpcm-tune": code_digest(),
    }


def input_facts(inputs: Inputs) -> dict[str, str]:
    """What tells the image sets and weights that trials read from others of the same name."""
    facts = {f"image set {name}": _images(name) for name in inputs.sets}
    return facts | {f"weights {name}": _weights(name) for name in inputs.weights}


facts_of = cache(node_facts)  # once in a process, which may run many trials


def differences(mine: Facts, theirs: Facts) -> list[str]:
    """The facts in which another node differs from the driver, one line each."""
    return [
        f"{name} is {theirs.get(name, 'unknown')}, the driver's {mine[name]}"
        for name in mine
        if mine[name] != theirs.get(name)
    ]


def code_digest() -> str:
    """12 hex digits over the sources of both packages, wherever they are installed."""
    total = hashlib.sha256()
    for package in (Path(hpcm.__file__).parent, Path(__file__).parents[1]):
        for path in sorted(package.rglob("*.py")):
            total.update(f"{package.name}/{path.relative_to(package)}\0".encode())
            total.update(path.read_bytes())
    return total.hexdigest()[:12]


def _release(package: str) -> str:
    """Its version without what it was built for: heads have no CUDA, and workers do."""
    return version(package).partition("+")[0]


def _images(name: str) -> str:
    """Number, and a digest of names, bytes and pixels: as much as a start reads anyway."""
    try:
        items = image_set(name).items
    except ConfigError as error:
        return f"not readable ({error})"
    total = hashlib.sha256()
    for item in items:
        total.update(f"{item.name}\0{item.bytes}\0{item.width}\0{item.height}\0".encode())
    return f"{len(items)} images, {total.hexdigest()[:12]}"


def _weights(name: str) -> str:
    try:
        path = starting_point(name)
        return f"{sum(_sizes(path))} bytes"
    except (ConfigError, OSError) as error:
        return f"not readable ({error})"


def _sizes(path: Path) -> Iterator[int]:
    files = [path] if path.is_file() else sorted(path.iterdir())
    return (file.stat().st_size for file in files)
