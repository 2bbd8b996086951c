"""Every combination of the choices, once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

from hpcm.schema import config_class
from tuning.ledger.records import TrialRecord
from tuning.search.searcher import Proposal, Searcher
from tuning.spaces.documents import Problem
from tuning.spaces.draws import combinations
from tuning.spaces.searcher_section import SearcherSection
from tuning.spaces.space import SearchSpace


@config_class
class Grid(SearcherSection):
    """Every combination of the choices, once, the prior first; no float is searched."""

    name: Literal["grid"] = "grid"

    def build(self, space: SearchSpace) -> Searcher:
        """It counts."""
        return GridSearcher(space)

    def problems(self, space: SearchSpace) -> Iterator[Problem]:
        """Parameters without a list of values."""
        for path, parameter in space.parameters.items():
            if any(coordinate.type == "float" for coordinate in parameter.coordinates(path)):
                yield (
                    f"parameters.{path}.type",
                    "a grid has no continuous values; list choices",
                )

    def warnings(self, space: SearchSpace) -> Iterator[str]:
        """A budget that is too small."""
        trials = space.budget.trials
        if sum(1 for _ in combinations(space, most=trials + 1)) > trials:
            yield f"budget.trials is {trials}, but the grid has more points: the rest is left out"


class GridSearcher(Searcher):
    """Proposes the points in order, from the first one on for each trial."""

    exhaustive: ClassVar[bool] = True

    def __init__(self, space: SearchSpace) -> None:
        super().__init__(space)
        prior, trials = space.prior(), space.budget.trials
        others = (flat for flat in combinations(space, most=trials) if flat != prior)
        self.points = [prior, *others][:trials]

    def propose(
        self, number: int, records: Sequence[TrialRecord], attempt: int = 0
    ) -> Proposal | None:
        """The next point; None after the last."""
        return (self.points[attempt], Grid.name) if attempt < len(self.points) else None
