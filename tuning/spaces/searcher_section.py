"""The `searcher` section of a search-space file: which configs are tried.

Each searcher is one file of `tuning/search/`, its section beside the class that proposes or with
the sampler that it takes, and one line of :data:`SEARCHERS`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

from hpcm.parts import KINDS, Kind
from tuning.spaces.late_parts import LateParts


class SearcherSection(ABC):
    """What every searcher has. A ``space`` is the `SearchSpace` whose section it is."""

    follows_pareto: ClassVar[bool] = True  # or follows nothing; else only `objective.metric`
    most_trials: ClassVar[int | None] = None  # that it can take, those of `warm_start` included
    name: str  # its key in ``SEARCHERS``
    seed: int = 0  # of what it draws
    warm_start: tuple[str, ...] = ()  # earlier experiments from which it learns

    @abstractmethod
    def build(self, space: Any) -> Any:
        """The :class:`tuning.search.searcher.Searcher` that proposes."""

    def problems(self, space: Any) -> Iterator[tuple[str, str]]:
        """What it cannot do in ``space``: the key, and what is wrong with it."""
        yield from ()

    def warnings(self, space: Any) -> Iterator[str]:
        """What it does in ``space``, but is probably not meant."""
        yield from ()


SEARCHERS = LateParts(
    {
        "tpe": "tuning.search.tpe_section:Tpe",
        "gp": "tuning.search.gp:Gp",
        "nsga": "tuning.search.nsga:Nsga",
        "cmaes": "tuning.search.cma_es:CmaEs",
        "random": "tuning.search.random_draws:Random",
        "grid": "tuning.search.grid:Grid",
    }
)

KINDS["searcher"] = Kind(SEARCHERS, SearcherSection)
