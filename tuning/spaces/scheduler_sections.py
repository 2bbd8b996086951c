"""The `scheduler` section of a search-space file: which trials are stopped early."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Tag

from hpcm.schema import bounded, by_name, config_class


@config_class
class Asha:
    """Asynchronous successive halving: at each rung the best 1 / reduction_factor go on."""

    name: Literal["asha"] = "asha"
    reduction_factor: int = 3  # >= 2; rungs are at min, min * this, min * this^2, .., max

    def __post_init__(self) -> None:
        bounded(self, "reduction_factor", least=2)

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
        bounded(self, "reduction_factor", least=2)
        if not 0 <= self.control < 1:
            raise ValueError(f"control is {self.control:g}; must be 0 or more and below 1")
        bounded(self, "seed", least=0)

    def levels(self, low: int, high: int) -> list[int]:
        """Epochs below ``high`` at which trials are compared, ascending."""
        return _geometric(low, high, self.reduction_factor)


@config_class
class Hyperband:
    """Brackets of successive halving, each with a later first rung (Li et al. 2018)."""

    name: Literal["hyperband"] = "hyperband"
    reduction_factor: int = 3  # >= 2; rungs are at min, min * this, min * this^2, .., max

    def __post_init__(self) -> None:
        bounded(self, "reduction_factor", least=2)

    def levels(self, low: int, high: int) -> list[int]:
        """Epochs below ``high`` at which trials are compared, ascending."""
        return _geometric(low, high, self.reduction_factor)

    def sizes(self, rungs: int) -> list[int]:
        """Trials of a bracket by its number of halvings, where there are so many rungs."""
        factor = self.reduction_factor
        return [-(-(rungs + 1) * factor**s // (s + 1)) for s in range(rungs + 1)]


@config_class
class Median:
    """From min on, a trial stops whose best is worse than the median of the others' means so far.

    Golovin et al. 2017, "Google Vizier", section 3.2.2.
    """

    name: Literal["median"] = "median"
    min_peers: int = 3  # other trials that have come as far, before any is stopped, >= 1

    def __post_init__(self) -> None:
        bounded(self, "min_peers", least=1)

    def levels(self, low: int, high: int) -> list[int]:
        """None: every epoch from ``low`` on is compared, and nothing has to be saved for it."""
        return []


@config_class
class RayAsha:
    """Ray's own ASHA, as Ray has it: the first at a rung goes on, equal scores are never stopped.

    :mod:`tuning.schedulers.ray_asha` lists how it differs from ``asha``.
    """

    name: Literal["ray_asha"] = "ray_asha"
    reduction_factor: int = 3  # >= 2; rungs are at min, min * this, min * this^2, .., max
    brackets: int = 1  # >= 1; a trial of bracket s has no rung below min * reduction_factor^s
    seed: int = 0  # of the draw of a trial's bracket

    def __post_init__(self) -> None:
        bounded(self, "reduction_factor", least=2)
        bounded(self, "brackets", least=1)
        bounded(self, "seed", least=0)

    def levels(self, low: int, high: int) -> list[int]:
        """Epochs below ``high`` at which trials are compared, ascending."""
        return _geometric(low, high, self.reduction_factor)


@config_class
class Pbt:
    """A population; every min epochs the worst go on as changed copies (Jaderberg et al. 2017)."""

    name: Literal["pbt"] = "pbt"
    quantile: float = 0.2  # share of the population that is replaced by copies of as many, to 0.5
    step: float = 0.2  # of a copy's mutable values: a factor of 1 -+ this, or this share of a range
    resample: float = 0.25  # probability that a mutable value is drawn afresh instead, 0 to 1
    seed: int = 0  # of who copies whom, and of the changes

    def __post_init__(self) -> None:
        _check_population(self)
        if not 0 < self.step < 1:
            raise ValueError(f"step is {self.step:g}; must be above 0 and below 1")
        if not 0 <= self.resample <= 1:
            raise ValueError(f"resample is {self.resample:g}; must be 0 to 1")

    def levels(self, low: int, high: int) -> list[int]:
        """Epochs below ``high`` at which trials are compared, ascending."""
        return list(range(low, high, low))


@config_class
class Pb2:
    """As pbt, with changes chosen by a model of what helped before (Parker-Holder et al. 2020)."""

    name: Literal["pb2"] = "pb2"
    quantile: float = 0.2  # share of the population that is replaced by copies of as many, to 0.5
    seed: int = 0  # of who copies whom, and of the search for the best change

    def __post_init__(self) -> None:
        _check_population(self)

    def levels(self, low: int, high: int) -> list[int]:
        """Epochs below ``high`` at which trials are compared, ascending."""
        return list(range(low, high, low))


@config_class
class Fifo:
    """Every trial trains to the maximum fidelity."""

    name: Literal["fifo"] = "fifo"

    def levels(self, low: int, high: int) -> list[int]:
        """None."""
        return []


Scheduler = Asha | Promote | Hyperband | Median | RayAsha | Pbt | Pb2 | Fifo
SchedulerSection = Annotated[
    Annotated[Asha, Tag("asha")]
    | Annotated[Promote, Tag("promote")]
    | Annotated[Hyperband, Tag("hyperband")]
    | Annotated[Median, Tag("median")]
    | Annotated[RayAsha, Tag("ray_asha")]
    | Annotated[Pbt, Tag("pbt")]
    | Annotated[Pb2, Tag("pb2")]
    | Annotated[Fifo, Tag("fifo")],
    Discriminator(by_name("promote")),
]


def _check_population(section: Pbt | Pb2) -> None:
    if not 0 < section.quantile <= 0.5:
        raise ValueError(f"quantile is {section.quantile:g}; must be above 0 and 0.5 or less")
    bounded(section, "seed", least=0)


def _geometric(low: int, high: int, factor: int) -> list[int]:
    found, at = [], low
    while at < high:
        found.append(at)
        at *= factor
    return found
