"""TPE, the default: the section; :mod:`tuning.search.tpe` does the work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from hpcm.schema import bounded, config_class
from tuning.ledger.records import TrialRecord
from tuning.search.sampler_section import LearningSection, check_share, startup_warning
from tuning.spaces.space import SearchSpace

if TYPE_CHECKING:
    import optuna

    from tuning.search.optuna_encoder import OptunaEncoder
    from tuning.search.samplers import SamplerSearcher


@config_class
class Tpe(LearningSection):
    """Tree-structured Parzen estimator, multivariate and conditional (Bergstra et al. 2011)."""

    name: Literal["tpe"] = "tpe"
    startup_trials: int = 12  # trials with a result before the model is used, >= 1
    incumbent_share: float = 0.5  # of the proposals around the best trial; not with pareto; 0 to 1
    incumbent_trials: int = 6  # trials with a result before any is drawn so, >= 1
    at_rungs: bool = True  # who trains on counts as at its last rung; not with pareto

    def __post_init__(self) -> None:
        super().__post_init__()
        bounded(self, "startup_trials", "incumbent_trials", least=1)
        check_share(self, "incumbent_share")

    def share_around_best(self, space: SearchSpace, results: int) -> float:
        """A front has no best trial."""
        due = results >= self.incumbent_trials and not space.objective.pareto
        return self.incumbent_share if due else 0.0

    def learns_at_rungs(self, space: SearchSpace) -> bool:
        """A front is looked for among whole trials."""
        return self.at_rungs and not space.objective.pareto

    def build(self, space: SearchSpace) -> SamplerSearcher:
        """It asks :meth:`study`."""
        from tuning.search.samplers import SamplerSearcher

        return SamplerSearcher(space, self)

    def study(
        self, encoder: OptunaEncoder, records: Sequence[TrialRecord], seed: int
    ) -> tuple[optuna.Study, bool]:
        """Stopped trials count."""
        from tuning.search.optuna_encoder import frozen_trials, study_of
        from tuning.search.tpe import Evidence, TpeSampler

        trials = frozen_trials(encoder, records)
        evidence = Evidence(trials, encoder.distributions, encoder.directions)
        sampler = TpeSampler(evidence, self.startup_trials, seed)
        return study_of([], sampler, encoder.directions), sampler.has_model

    def warnings(self, space: SearchSpace) -> Iterator[str]:
        """A budget without a model."""
        yield from startup_warning(space, self.startup_trials)
