"""The distributions of a search-space file.

A parameter is one field of a run config, or several (`fields_named`). A searcher sees only scalars:
each parameter unfolds into one or more :class:`Coordinate`, and maps what was sampled for them to
the field's value.

===========================  =================================================================
parameter                    coordinates, by the key under which a trial's config holds them
===========================  =================================================================
``float int bool             ``<path>``: the value itself (bool: a choice of false and true)
categorical``
``categorical`` of lists     ``<path>``: the text of the list, as JSON has it
``float`` with ``zero``      ``<path>.zero`` in [0, 1]: the value is 0 if this is below ``zero``;
                             else ``<path>``, the value itself
``simplex`` of size n        ``<path>.0`` .. ``<path>.<n-2>``, each in [0, 1]: sticks to break
===========================  =================================================================
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import field
from typing import Any, TypeAlias

from hpcm.schema import config_class
from tuning.spaces.categorical import Categorical
from tuning.spaces.coordinates import Coordinate, Suggest

LARGEST_INT = 2**53  # beyond it a searcher's floats skip whole numbers


@config_class
class Float:
    """A number from ``low`` to ``high``, or exactly 0 with probability ``zero``."""

    low: float  # smallest value; above 0 if log
    high: float  # largest value
    prior: float  # the hand-tuned value: the first trial, and what every result is compared with
    log: bool = False  # equal ratios are equally likely
    zero: float = 0.0  # probability of exactly 0, in [0, 1)
    when: dict[str, Any] = field(default_factory=dict)  # parents' values; all must hold
    mutable: bool = False  # a population-based scheduler may change it during a run

    def __post_init__(self) -> None:
        _check_bounds(self.low, self.high, self.log)
        if not 0 <= self.zero < 1:
            raise ValueError(f"zero is {self.zero}; must be a probability, 0 or more and below 1")
        if self.zero and self.low <= 0 <= self.high:
            raise ValueError(f"zero is {self.zero}, but 0 is already between low and high")
        if not self.contains(self.prior):
            allowed = f"{self.low:g} to {self.high:g}" + (" or 0" if self.zero else "")
            raise ValueError(f"prior is {self.prior:g}, outside {allowed}")

    def contains(self, value: Any) -> bool:
        """Whether the field may get ``value``."""
        if not isinstance(value, int | float) or isinstance(value, bool):
            return False
        return self.low <= value <= self.high or (self.zero > 0 and value == 0)

    def coordinates(self, path: str) -> tuple[Coordinate, ...]:
        """Every scalar to sample; the value is needed only if the coin before it is not 0."""
        inside = self.low <= self.prior <= self.high
        middle = math.sqrt(self.low * self.high) if self.log else (self.low + self.high) / 2
        value = Coordinate(
            path=path,
            type="float",
            prior=self.prior if inside else middle,
            low=self.low,
            high=self.high,
            log=self.log,
            mutable=self.mutable,
            has_no_prior=not inside,
        )
        if not self.zero:
            return (value,)
        side = (1 + self.zero) / 2 if inside else self.zero / 2
        coin = Coordinate(
            path=f"{path}.zero", type="float", prior=side, low=0.0, high=1.0, split=self.zero
        )
        return coin, value

    def read(self, path: str, suggest: Suggest) -> float:
        """The field's value, from what ``suggest`` gives for the coordinates it needs."""
        *coin, value = self.coordinates(path)
        if coin and suggest(coin[0]) < self.zero:
            return 0.0
        return float(suggest(value))


@config_class
class Int:
    """A whole number from ``low`` to ``high``, both included."""

    low: int  # smallest value; above 0 if log
    high: int  # largest value
    prior: int  # the hand-tuned value: the first trial, and what every result is compared with
    log: bool = False  # equal ratios are equally likely
    when: dict[str, Any] = field(default_factory=dict)  # parents' values; all must hold
    mutable: bool = False  # a population-based scheduler may change it during a run

    def __post_init__(self) -> None:
        _check_bounds(self.low, self.high, self.log)
        for name, value in (("low", self.low), ("high", self.high)):
            if abs(value) > LARGEST_INT:
                raise ValueError(f"{name} is {value}; must be within 2^53 of 0")
        if not self.contains(self.prior):
            raise ValueError(f"prior is {self.prior}, outside {self.low} to {self.high}")

    def contains(self, value: Any) -> bool:
        """Whether the field may get ``value``."""
        return type(value) is int and self.low <= value <= self.high

    def coordinates(self, path: str) -> tuple[Coordinate, ...]:
        """The value itself."""
        return (
            Coordinate(
                path=path,
                type="int",
                prior=self.prior,
                low=self.low,
                high=self.high,
                log=self.log,
                mutable=self.mutable,
            ),
        )

    def read(self, path: str, suggest: Suggest) -> int:
        """The field's value."""
        return int(suggest(*self.coordinates(path)))


@config_class
class Bool:
    """True or false."""

    prior: bool  # the hand-tuned value: the first trial, and what every result is compared with
    when: dict[str, Any] = field(default_factory=dict)  # parents' values; all must hold
    mutable: bool = False  # a population-based scheduler may change it during a run

    def contains(self, value: Any) -> bool:
        """Whether the field may get ``value``."""
        return isinstance(value, bool)

    def coordinates(self, path: str) -> tuple[Coordinate, ...]:
        """A choice of false and true."""
        return (
            Coordinate(
                path=path,
                type="categorical",
                prior=self.prior,
                choices=(False, True),
                mutable=self.mutable,
            ),
        )

    def read(self, path: str, suggest: Suggest) -> bool:
        """The field's value."""
        return bool(suggest(*self.coordinates(path)))


@config_class
class Simplex:
    """``size`` numbers of at least ``low`` each that sum to 1, uniform over all of them.

    Sticks are broken so that the map from the unit cube keeps measure (Dirichlet of ones as a
    product of betas: the k-th share of what is left is ``1 - (1 - u_k)^(1 / (size - 1 - k))``).
    """

    size: int  # how many numbers, >= 2
    prior: tuple[float, ...]  # the hand-tuned numbers: the first trial, and the baseline
    low: float = 0.0  # smallest value of each, >= 0 and below 1 / size
    when: dict[str, Any] = field(default_factory=dict)  # parents' values; all must hold
    mutable: bool = False  # a population-based scheduler may change it during a run

    def __post_init__(self) -> None:
        if self.size < 2:
            raise ValueError(f"size is {self.size}; must be 2 or more")
        if not 0 <= self.low * self.size < 1:
            raise ValueError(f"low is {self.low}; must be 0 or more and below 1 / {self.size}")
        if not self.contains(self.prior):
            raise ValueError(
                f"prior is {list(self.prior)}; must be {self.size} numbers of at least {self.low}"
                " that sum to 1"
            )

    def contains(self, value: Any) -> bool:
        """Whether the field may get ``value``, up to 1e-9."""
        if not isinstance(value, list | tuple) or len(value) != self.size:
            return False
        return abs(sum(value) - 1) < 1e-9 and all(x >= self.low - 1e-9 for x in value)

    def coordinates(self, path: str) -> tuple[Coordinate, ...]:
        """One fraction for each stick but the last."""
        found, left = [], 1.0
        for k in range(self.size - 1):
            x = (self.prior[k] - self.low) / (1 - self.size * self.low)
            broken = min(max(x / left, 0.0), 1.0) if left > 1e-12 else 0.5
            u = 1 - (1 - broken) ** (self.size - 1 - k)
            found.append(
                Coordinate(
                    path=f"{path}.{k}",
                    type="float",
                    prior=u,
                    low=0.0,
                    high=1.0,
                    mutable=self.mutable,
                )
            )
            left -= x
        return tuple(found)

    def read(self, path: str, suggest: Suggest) -> list[float]:
        """The field's value, rounded to 12 decimals so that the prior comes back as written."""
        shares, left = [], 1.0
        for k, coordinate in enumerate(self.coordinates(path)):
            share = left * (1 - (1 - suggest(coordinate)) ** (1 / (self.size - 1 - k)))
            shares.append(share)
            left -= share
        shares.append(left)
        room = 1 - self.size * self.low
        return [round(self.low + room * share, 12) for share in shares]


Parameter: TypeAlias = Float | Int | Bool | Categorical | Simplex

DISTRIBUTIONS: Mapping[str, type[Parameter]] = {
    "float": Float,
    "int": Int,
    "bool": Bool,
    "categorical": Categorical,
    "simplex": Simplex,
}


def _check_bounds(low: float, high: float, log: bool) -> None:
    if not low < high:
        raise ValueError(f"low is {low:g}, not below high ({high:g})")
    if log and not low > 0:
        raise ValueError(f"low is {low:g}; must be above 0 on a log scale")
