"""A Gaussian process, by Optuna's sampler: for few, whole trials."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from hpcm.schema import bounded, config_class
from tuning.ledger.records import TrialRecord
from tuning.search.sampler_section import LearningSection, condition_warning, startup_warning
from tuning.spaces.documents import Problem
from tuning.spaces.space import SearchSpace

if TYPE_CHECKING:
    import optuna

    from tuning.search.optuna_encoder import OptunaEncoder
    from tuning.search.samplers import SamplerSearcher


@config_class
class Gp(LearningSection):
    """Gaussian process; learns from trials at the maximum fidelity, for at most 500 trials."""

    follows_pareto: ClassVar[bool] = False
    most_trials: ClassVar[int | None] = 500  # a proposal takes 1.4 s, at 1,000 6 s; docs/log.md
    name: Literal["gp"] = "gp"
    startup_trials: int = 12  # trials at the maximum fidelity before the model is used, >= 1

    def __post_init__(self) -> None:
        super().__post_init__()
        bounded(self, "startup_trials", least=1)

    def build(self, space: SearchSpace) -> SamplerSearcher:
        """It asks :meth:`study`."""
        from tuning.search.samplers import SamplerSearcher

        return SamplerSearcher(space, self)

    def study(
        self, encoder: OptunaEncoder, records: Sequence[TrialRecord], seed: int
    ) -> tuple[optuna.Study, bool]:
        """Only whole trials count."""
        from optuna.samplers import GPSampler

        from tuning.search.samplers import study_with

        sampler = GPSampler(
            seed=seed,
            n_startup_trials=self.startup_trials,
            warn_independent_sampling=False,  # the space warns when it is read
        )
        return study_with(sampler, encoder, records, self.startup_trials)

    def problems(self, space: SearchSpace) -> Iterator[Problem]:
        """A budget that is too large."""
        trials = space.budget.trials
        if self.most_trials is not None and trials > self.most_trials:
            yield (
                "searcher.name",
                f"gp, but budget.trials is {trials}: the driver stands still while a Gaussian"
                f" process proposes, with many trials for seconds; at most {self.most_trials}"
                " trials, or tpe",
            )

    def warnings(self, space: SearchSpace) -> Iterator[str]:
        """What it does not learn from."""
        yield from startup_warning(space, self.startup_trials)
        if len(space.rungs()) > 1:
            yield (
                f"searcher gp learns from trials at epoch {space.fidelity.max} only, and scheduler"
                f" {space.scheduler.name} stops most before; fifo stops none, tpe learns from all"
            )
        yield from condition_warning(space)
