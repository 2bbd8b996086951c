"""The `scheduler` section of a search-space file: which trials are stopped early."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Tag

from hpcm.schema import bounded, by_name, config_class

#: A small search would hardly have any control: rank fidelity needs four (docs/log.md).
SMALL_SEARCH, SMALL_CONTROL, LARGE_CONTROL = 64, 0.2, 0.05
INSTEAD = {"median": "promote", "ray_asha": "asha", "pb2": "pbt"}  # of schedulers that are gone


@config_class
class Asha:
    """Asynchronous successive halving: at each rung the best 1 / reduction_factor go on."""

    changes_config: ClassVar[bool] = False  # of a trial while it trains
    name: Literal["asha"] = "asha"
    reduction_factor: int = 3  # >= 2; rungs are at min, min * this, min * this^2, .., max
    pilots: int = 3  # trials at a rung and at the end before it stops any, >= 0; 0: it does at once
    agreement: float = 0.4  # Kendall tau of rung and end below which it lets all pass, -1 to 1

    def __post_init__(self) -> None:
        bounded(self, "reduction_factor", least=2)
        _check_pilots(self)

    def levels(self, low: int, high: int) -> list[int]:
        """Epochs below ``high`` at which trials are compared, ascending."""
        return _geometric(low, high, self.reduction_factor)


@config_class
class Promote:
    """Successive halving by promotion: at a rung a trial waits until it is among the best there."""

    changes_config: ClassVar[bool] = False  # of a trial while it trains
    name: Literal["promote"] = "promote"
    reduction_factor: int = 3  # >= 2; rungs are at min, min * this, min * this^2, .., max
    pilots: int = 3  # trials at a rung and at the end before it stops any, >= 0; 0: it does at once
    agreement: float = 0.4  # Kendall tau of rung and end below which it lets all pass, -1 to 1
    control: float | None = None  # share of losers that go on; null: 0.2, from 64 trials on 0.05
    seed: int = 0  # of the draw of these

    def __post_init__(self) -> None:
        bounded(self, "reduction_factor", least=2)
        _check_pilots(self)
        if self.control is not None and not 0 <= self.control < 1:
            raise ValueError(f"control is {self.control:g}; must be 0 or more and below 1")
        bounded(self, "seed", least=0)

    def control_share(self, trials: int) -> float:
        """Of the losers, in a search of so many trials."""
        if self.control is not None:
            return self.control
        return SMALL_CONTROL if trials < SMALL_SEARCH else LARGE_CONTROL

    def levels(self, low: int, high: int) -> list[int]:
        """Epochs below ``high`` at which trials are compared, ascending."""
        return _geometric(low, high, self.reduction_factor)


@config_class
class Hyperband:
    """Brackets of successive halving, each with a later first rung (Li et al. 2018)."""

    changes_config: ClassVar[bool] = False  # of a trial while it trains
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
class Pbt:
    """A population; every min epochs the worst go on as changed copies (Jaderberg et al. 2017)."""

    changes_config: ClassVar[bool] = True  # of a trial while it trains
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
class Fifo:
    """Every trial trains to the maximum fidelity."""

    changes_config: ClassVar[bool] = False  # of a trial while it trains
    name: Literal["fifo"] = "fifo"

    def levels(self, low: int, high: int) -> list[int]:
        """None."""
        return []


@config_class
class Retired:
    """A scheduler of earlier versions: its experiments are still read, no new one has it."""

    changes_config: ClassVar[bool] = False  # of a trial while it trains
    name: Literal["median", "ray_asha", "pb2"] = "median"
    reduction_factor: int = 3  # of ray_asha
    brackets: int = 1  # of ray_asha
    min_peers: int = 3  # of median
    quantile: float = 0.2  # of pb2
    seed: int = 0

    @property
    def instead(self) -> str:
        """What takes its place."""
        return INSTEAD[self.name]

    def levels(self, low: int, high: int) -> list[int]:
        """Epochs below ``high`` at which trials were compared, ascending."""
        if self.name == "pb2":
            return list(range(low, high, low))
        return _geometric(low, high, self.reduction_factor) if self.name == "ray_asha" else []


def _tag(value: Any) -> str:
    name = by_name("promote")(value)
    return "_retired" if name in INSTEAD else name


Scheduler = Asha | Promote | Hyperband | Pbt | Fifo | Retired
SchedulerSection = Annotated[
    Annotated[Asha, Tag("asha")]
    | Annotated[Promote, Tag("promote")]
    | Annotated[Hyperband, Tag("hyperband")]
    | Annotated[Pbt, Tag("pbt")]
    | Annotated[Fifo, Tag("fifo")]
    | Annotated[Retired, Tag("_retired")],
    Discriminator(_tag),
]


def _check_pilots(section: Asha | Promote) -> None:
    bounded(section, "pilots", least=0)
    if section.pilots in (1, 2):
        raise ValueError(f"pilots is {section.pilots}; must be 0, or 3 or more to have an order")
    if not -1 <= section.agreement <= 1:
        raise ValueError(f"agreement is {section.agreement:g}; must be -1 to 1")


def _check_population(section: Pbt) -> None:
    if not 0 < section.quantile <= 0.5:
        raise ValueError(f"quantile is {section.quantile:g}; must be above 0 and 0.5 or less")
    bounded(section, "seed", least=0)


def _geometric(low: int, high: int, factor: int) -> list[int]:
    found, at = [], low
    while at < high:
        found.append(at)
        at *= factor
    return found
