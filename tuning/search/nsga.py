"""NSGA-II, by Optuna's sampler: for a front of two metrics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from hpcm.schema import bounded, config_class
from tuning.ledger.records import TrialRecord
from tuning.search.sampler_section import LearningSection, condition_warning
from tuning.spaces.documents import Problem
from tuning.spaces.space import SearchSpace

if TYPE_CHECKING:
    import optuna

    from tuning.search.optuna_encoder import OptunaEncoder
    from tuning.search.samplers import SamplerSearcher


@config_class
class Nsga(LearningSection):
    """NSGA-II (Deb et al. 2002) for a Pareto front: needs `objective.pareto`."""

    name: Literal["nsga"] = "nsga"
    population: int = 16  # trials of a generation, >= 2

    def __post_init__(self) -> None:
        super().__post_init__()
        bounded(self, "population", least=2)

    def build(self, space: SearchSpace) -> SamplerSearcher:
        """It asks :meth:`study`."""
        from tuning.search.samplers import SamplerSearcher

        return SamplerSearcher(space, self)

    def study(
        self, encoder: OptunaEncoder, records: Sequence[TrialRecord], seed: int
    ) -> tuple[optuna.Study, bool]:
        """After the first generation."""
        from optuna.samplers import NSGAIISampler

        from tuning.search.samplers import study_with

        sampler = NSGAIISampler(seed=seed, population_size=self.population)
        return study_with(sampler, encoder, records, self.population)

    def problems(self, space: SearchSpace) -> Iterator[Problem]:
        """One metric only."""
        if not space.objective.pareto:
            yield "searcher.name", "nsga, which needs two metrics; give them as objective.pareto"

    def warnings(self, space: SearchSpace) -> Iterator[str]:
        """A budget of one generation, and what has no model."""
        if self.population >= space.budget.trials:
            yield (
                f"searcher.population is {self.population}, budget.trials {space.budget.trials}:"
                " there is no second generation"
            )
        yield from condition_warning(space)
