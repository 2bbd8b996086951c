"""What a searcher sees of a search space: scalars, one at a time."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from hpcm.schema import ConfigError

Scalar: TypeAlias = bool | int | float | str | None


@dataclass(frozen=True)
class Coordinate:
    """One scalar that a searcher samples. ``low <= value <= high``, or one of ``choices``."""

    path: str  # key in a trial's flat config
    type: Literal["float", "int", "categorical"]
    prior: Any
    low: float | int | None = None
    high: float | int | None = None
    log: bool = False
    choices: tuple[Scalar, ...] = ()
    mutable: bool = False
    split: float | None = None  # a coin in [0, 1]: what counts is only whether it is below this
    has_no_prior: bool = (
        False  # the prior config has no value here: ``prior`` is the middle of the range
    )

    def contains(self, value: Any) -> bool:
        """Whether ``value`` may be sampled here."""
        if self.type == "categorical":
            return any(value == choice and type(value) is type(choice) for choice in self.choices)
        kinds = int if self.type == "int" else (int, float)
        if not isinstance(value, kinds) or isinstance(value, bool):
            return False
        assert self.low is not None
        assert self.high is not None
        return self.low <= value <= self.high

    @property
    def allowed(self) -> str:
        """What may be sampled, for messages."""
        if self.type == "categorical":
            return "one of " + ", ".join(str(choice) for choice in self.choices)
        return f"{self.type} from {self.low:g} to {self.high:g}"

    def at(self, share: float) -> float | int:
        """The number that has ``share`` (0 to 1) of the distribution below it."""
        low, high = self._ends()
        value = low + (high - low) * share
        value = math.exp(value) if self.log else value
        assert self.low is not None
        assert self.high is not None
        return min(max(round(value) if self.type == "int" else value, self.low), self.high)

    def share(self, value: float) -> float:
        """How much of the distribution is below the number ``value``: the inverse of `at`."""
        low, high = self._ends()
        return ((math.log(value) if self.log else value) - low) / (high - low)

    def _ends(self) -> tuple[float, float]:
        """The range on the scale on which it is uniform; whole numbers own half a unit around."""
        assert self.low is not None
        assert self.high is not None
        low, high = float(self.low), float(self.high)
        if self.type == "int":
            low, high = low - 0.5, high + 0.5
        return (math.log(low), math.log(high)) if self.log else (low, high)


Suggest: TypeAlias = Callable[[Coordinate], Any]


def same(a: Any, b: Any) -> bool:
    """Equal and of one type: YAML's ``true`` is not ``1``."""
    return type(a) is type(b) and bool(a == b)


def sampled(flat: Mapping[str, Any]) -> Suggest:
    """A ``suggest`` that looks each coordinate up; raises :class:`ConfigError` if one is absent."""

    def suggest(coordinate: Coordinate) -> Any:
        if coordinate.path not in flat:
            raise ConfigError(f"{coordinate.path}: active, but no value was given for it")
        return flat[coordinate.path]

    return suggest


def fields_named(path: str) -> tuple[str, ...]:
    """The fields of a parameter: its path, or ``a.x`` and ``a.y`` of ``a.{x,y}``."""
    found = re.fullmatch(r"([^{}]*)\{([^{}]+)\}([^{}]*)", path)
    if found is None:
        return (path,)
    before, names, after = found.groups()
    return tuple(f"{before}{name.strip()}{after}" for name in names.split(","))
