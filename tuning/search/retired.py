"""Schedulers of earlier versions: their experiments are still read, no search runs with them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NoReturn

from hpcm.schema import ConfigError, config_class
from tuning.search.halving import geometric
from tuning.spaces.documents import Problem
from tuning.spaces.scheduler_section import SchedulerSection

INSTEAD = {"median": "promote", "ray_asha": "asha", "pb2": "pbt"}


@config_class
class Retired(SchedulerSection):
    """A scheduler of earlier versions, with the keys that it had."""

    name: Literal["median", "ray_asha", "pb2"] = "median"
    reduction_factor: int = 3  # of ray_asha
    brackets: int = 1  # of ray_asha
    min_peers: int = 3  # of median
    quantile: float = 0.2  # of pb2
    seed: int = 0

    def build(self, space: Any, ledger: Any, copy: Any) -> NoReturn:
        """Raises :class:`ConfigError`: there is no such scheduler any more."""
        raise ConfigError(f"scheduler.name: {self._gone()}")

    def levels(self, low: int, high: int) -> list[int]:
        """Epochs from ``low`` to below ``high`` at which trials were compared, ascending."""
        if self.name == "pb2":
            return list(range(low, high, low))
        return geometric(low, high, self.reduction_factor) if self.name == "ray_asha" else []

    def problems(self, space: Any) -> Iterator[Problem]:
        """What takes its place."""
        yield "scheduler.name", self._gone()

    def _gone(self) -> str:
        return f"{self.name} is gone; use {INSTEAD[self.name]}"
