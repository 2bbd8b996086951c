"""Parameters as the axes of a parallel-coordinates chart, and trials as points on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tuning.spaces.categorical import Categorical
from tuning.spaces.parameters import Bool, Parameter, Simplex
from tuning.spaces.space import SearchSpace
from tuning.spaces.wording import value_text


@dataclass(frozen=True)
class Axis:
    """One axis: numbers from ``low`` to ``high``, or ``choices`` in their order."""

    path: str
    label: str  # as much of the path's end as no other axis shares
    low: float | None = None
    high: float | None = None
    log: bool = False
    zero: bool = False  # exactly 0 has a place of its own, below ``low``
    choices: tuple[str, ...] = ()

    def to_plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def axes_of(space: SearchSpace) -> list[Axis]:
    """The axes in the order of the space's file; a simplex has one for each of its numbers."""
    paths = [
        path for name, parameter in space.parameters.items() for path in _paths(name, parameter)
    ]
    labels = dict(zip(paths, short_labels(paths), strict=True))
    return [
        _axis(path, labels[path], parameter)
        for name, parameter in space.parameters.items()
        for path in _paths(name, parameter)
    ]


def points_of(values: Mapping[str, Any], axes: list[Axis]) -> list[float | str | None]:
    """Where a trial's values (``SearchSpace.values``) lie on each axis; None: not active in it."""
    flat: dict[str, Any] = {}
    whole = {axis.path for axis in axes}
    for path, value in values.items():
        if isinstance(value, list | tuple) and path not in whole:
            flat |= {f"{path}.{k}": part for k, part in enumerate(value)}
        else:
            flat[path] = value
    return [None if axis.path not in flat else _point(flat[axis.path], axis) for axis in axes]


def short_labels(paths: list[str]) -> list[str]:
    """The shortest end of each dotted path that no other has: ``lr``, ``optimizer.name``."""
    ends = [list(_ends(path)) for path in paths]
    return [
        next((end for end in own if sum(end in other for other in ends) == 1), own[-1])
        for own in ends
    ]


def _ends(path: str) -> Iterator[str]:
    parts = path.split(".")
    first = len(parts) - (2 if parts[-1].isdigit() and len(parts) > 1 else 1)
    for start in range(first, -1, -1):
        yield ".".join(parts[start:])


def _paths(path: str, parameter: Parameter) -> list[str]:
    if isinstance(parameter, Simplex):
        return [f"{path}.{k}" for k in range(parameter.size)]
    return [path]


def _axis(path: str, label: str, parameter: Parameter) -> Axis:
    match parameter:
        case Categorical(choices=choices):
            return Axis(path, label, choices=tuple(value_text(choice) for choice in choices))
        case Bool():
            return Axis(path, label, choices=(value_text(False), value_text(True)))
        case Simplex(low=low, size=size):
            return Axis(path, label, low=low, high=1 - (size - 1) * low)
        case _:
            zero = bool(getattr(parameter, "zero", 0.0))
            return Axis(path, label, parameter.low, parameter.high, parameter.log, zero)


def _point(value: Any, axis: Axis) -> float | str:
    return value_text(value) if axis.choices else float(value)
