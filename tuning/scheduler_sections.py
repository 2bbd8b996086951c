"""The `scheduler` section of a search-space file: which trials are stopped early."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Tag

from hpcm.schema import by_name, config_class
from tuning.searcher_sections import check_seed


@config_class
class Asha:
    """Asynchronous successive halving: at each rung the best 1 / reduction_factor go on."""

    name: Literal["asha"] = "asha"
    reduction_factor: int = 3  # >= 2; rungs are at min, min * this, min * this^2, .., max

    def __post_init__(self) -> None:
        _check_factor(self.reduction_factor)

    def levels(self, low: int, high: int) -> list[int]:
        """Epochs below ``high`` at which trials are compared, ascending."""
        return _geometric(low, high, self.reduction_factor)


@config_class
class Promote:
    """Successive halving by promotion: at a rung a trial waits until it is among the best there."""

    name: Literal["promote"] = "promote"
    reduction_factor: int = 3  # >= 2; rungs are at min, min * this, min * this^2, .., max
    control: float = 0.05  # share of the losers that go on all the same, 0 to below 1
    seed: int = 0  # of the draw of these

    def __post_init__(self) -> None:
        _check_factor(self.reduction_factor)
        if not 0 <= self.control < 1:
            raise ValueError(f"control is {self.control:g}; must be 0 or more and below 1")
        check_seed(self.seed)

    def levels(self, low: int, high: int) -> list[int]:
        """Epochs below ``high`` at which trials are compared, ascending."""
        return _geometric(low, high, self.reduction_factor)


@config_class
class Fifo:
    """Every trial trains to the maximum fidelity."""

    name: Literal["fifo"] = "fifo"

    def levels(self, low: int, high: int) -> list[int]:
        """None."""
        return []


Scheduler = Asha | Promote | Fifo
SchedulerSection = Annotated[
    Annotated[Asha, Tag("asha")]
    | Annotated[Promote, Tag("promote")]
    | Annotated[Fifo, Tag("fifo")],
    Discriminator(by_name("asha")),
]


def _check_factor(factor: int) -> None:
    if factor < 2:
        raise ValueError(f"reduction_factor is {factor}; must be 2 or more")


def _geometric(low: int, high: int, factor: int) -> list[int]:
    found, at = [], low
    while at < high:
        found.append(at)
        at *= factor
    return found
