"""The `searcher` section of a search-space file: which configs are tried."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Tag

from hpcm.schema import by_name, config_class


def check_seed(seed: int) -> None:
    """Raise ValueError for a seed that no generator takes."""
    if seed < 0:
        raise ValueError(f"seed is {seed}; must be 0 or more")


@config_class
class Tpe:
    """Tree-structured Parzen estimator, multivariate and conditional (Bergstra et al. 2011)."""

    name: Literal["tpe"] = "tpe"
    seed: int = 0  # of everything the searcher draws
    startup_trials: int = 12  # trials drawn at random before the model is used, >= 1

    def __post_init__(self) -> None:
        if self.startup_trials < 1:
            raise ValueError(f"startup_trials is {self.startup_trials}; must be 1 or more")
        check_seed(self.seed)


@config_class
class Random:
    """Independent draws from the distributions."""

    name: Literal["random"] = "random"
    seed: int = 0  # of everything the searcher draws

    def __post_init__(self) -> None:
        check_seed(self.seed)


@config_class
class Grid:
    """Every combination of the choices, once, the prior first; no float is searched."""

    name: Literal["grid"] = "grid"


SearcherSection = Annotated[
    Annotated[Tpe, Tag("tpe")] | Annotated[Random, Tag("random")] | Annotated[Grid, Tag("grid")],
    Discriminator(by_name("tpe")),
]
