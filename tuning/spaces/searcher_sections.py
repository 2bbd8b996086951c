"""The `searcher` section of a search-space file: which configs are tried."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Discriminator, Tag

from hpcm.schema import bounded, by_name, config_class

MOST_GP_TRIALS = 500  # a proposal takes 1.4 s there, 6 s at 1,000; docs/log.md


def check_prior(section: Tpe | Gp | Nsga | Random) -> None:
    """Raise ValueError for what cannot be sampled around the prior."""
    if not 0 <= section.prior_share <= 1:
        raise ValueError(f"prior_share is {section.prior_share:g}; must be 0 to 1")
    bounded(section, "prior_trials", least=1)
    if not 0 < section.prior_width <= 1:
        raise ValueError(f"prior_width is {section.prior_width:g}; must be above 0 and at most 1")


def check_names(experiments: tuple[str, ...]) -> None:
    """Raise ValueError for an experiment that is named twice."""
    for name in experiments:
        if experiments.count(name) > 1:
            raise ValueError(f"warm_start is {list(experiments)}; must name each once")


@config_class
class Tpe:
    """Tree-structured Parzen estimator, multivariate and conditional (Bergstra et al. 2011)."""

    name: Literal["tpe"] = "tpe"
    seed: int = 0  # of everything the searcher draws
    startup_trials: int = 12  # trials with a result before the model is used, >= 1
    prior_share: float = 0.5  # of the proposals drawn around the priors at first, 0 to 1
    prior_trials: int = 10  # trials with a result that halve this share, >= 1
    prior_width: float = 0.25  # standard deviation around a prior, as a share of its range
    warm_start: tuple[str, ...] = ()  # experiments of this storage, CSV or JSON files

    def __post_init__(self) -> None:
        bounded(self, "seed", least=0)
        bounded(self, "startup_trials", least=1)
        check_prior(self)
        check_names(self.warm_start)


@config_class
class Gp:
    """Gaussian process; learns from trials at the maximum fidelity, for at most 500 trials."""

    name: Literal["gp"] = "gp"
    seed: int = 0  # of everything the searcher draws
    startup_trials: int = 12  # trials at the maximum fidelity before the model is used, >= 1
    prior_share: float = 0.5  # of the proposals drawn around the priors at first, 0 to 1
    prior_trials: int = 10  # trials with a result that halve this share, >= 1
    prior_width: float = 0.25  # standard deviation around a prior, as a share of its range
    warm_start: tuple[str, ...] = ()  # experiments of this storage, CSV or JSON files

    def __post_init__(self) -> None:
        bounded(self, "seed", least=0)
        bounded(self, "startup_trials", least=1)
        check_prior(self)
        check_names(self.warm_start)


@config_class
class Nsga:
    """NSGA-II (Deb et al. 2002) for a Pareto front: needs `objective.pareto`."""

    name: Literal["nsga"] = "nsga"
    seed: int = 0  # of everything the searcher draws
    population: int = 16  # trials of a generation, >= 2
    prior_share: float = 0.5  # of the proposals drawn around the priors at first, 0 to 1
    prior_trials: int = 10  # trials with a result that halve this share, >= 1
    prior_width: float = 0.25  # standard deviation around a prior, as a share of its range
    warm_start: tuple[str, ...] = ()  # experiments of this storage, CSV or JSON files

    def __post_init__(self) -> None:
        bounded(self, "seed", least=0)
        bounded(self, "population", least=2)
        check_prior(self)
        check_names(self.warm_start)


@config_class
class CmaEs:
    """CMA-ES (Hansen 2016) from the prior outwards; numbers only, none of them conditional."""

    name: Literal["cmaes"] = "cmaes"
    seed: int = 0  # of everything the searcher draws
    sigma: float = 0.25  # first standard deviation, as a share of every range
    population: int | None = None  # trials of a generation, >= 4; null: 4 + 3 ln(dimensions)

    def __post_init__(self) -> None:
        bounded(self, "seed", least=0)
        if not 0 < self.sigma <= 1:
            raise ValueError(f"sigma is {self.sigma:g}; must be above 0 and at most 1")
        bounded(self, "population", least=4)


@config_class
class Random:
    """Independent draws from the distributions, and around the priors."""

    name: Literal["random"] = "random"
    seed: int = 0  # of everything the searcher draws
    prior_share: float = 0.5  # of the proposals drawn around the priors at first, 0 to 1
    prior_trials: int = 10  # trials with a result that halve this share, >= 1
    prior_width: float = 0.25  # standard deviation around a prior, as a share of its range

    def __post_init__(self) -> None:
        bounded(self, "seed", least=0)
        check_prior(self)


@config_class
class Grid:
    """Every combination of the choices, once, the prior first; no float is searched."""

    name: Literal["grid"] = "grid"


Searcher: TypeAlias = Tpe | Gp | CmaEs | Nsga | Random | Grid
SearcherSection = Annotated[
    Annotated[Tpe, Tag("tpe")]
    | Annotated[Gp, Tag("gp")]
    | Annotated[Nsga, Tag("nsga")]
    | Annotated[CmaEs, Tag("cmaes")]
    | Annotated[Random, Tag("random")]
    | Annotated[Grid, Tag("grid")],
    Discriminator(by_name("tpe")),
]
