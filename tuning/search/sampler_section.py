"""The common part of the sections of Optuna's samplers.

Optuna is imported when a search begins (0.25 s), not when a space is read.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from hpcm.schema import bounded, config_class
from tuning.ledger.records import TrialRecord
from tuning.spaces.searcher_section import SearcherSection
from tuning.spaces.space import SearchSpace

if TYPE_CHECKING:
    import optuna

    from tuning.search.optuna_encoder import OptunaEncoder


def check_share(section: Any, name: str) -> None:
    """Raise ValueError for what is no probability."""
    if not 0 <= (value := getattr(section, name)) <= 1:
        raise ValueError(f"{name} is {value:g}; must be 0 to 1")


@config_class
class SamplerSection(SearcherSection, ABC):
    """A share of the proposals is drawn around the priors, see :mod:`tuning.search.prior_sampling`.

    The others are the sampler's.
    """

    seed: int = 0  # of everything the searcher draws
    prior_share: float = 0.0  # of the proposals drawn around the priors at first, 0 to 1
    prior_trials: int = 10  # trials with a result that halve this share, >= 1
    prior_width: float = 0.25  # standard deviation around a prior, as a share of its range

    def __post_init__(self) -> None:
        bounded(self, "seed", least=0)
        bounded(self, "prior_trials", least=1)
        check_share(self, "prior_share")
        if not 0 < self.prior_width <= 1:
            raise ValueError(f"prior_width is {self.prior_width:g}; must be above 0 and at most 1")

    def share_around_best(self, space: SearchSpace, results: int) -> float:
        """The share of the proposals drawn around the best trial after ``results`` results."""
        return 0.0

    def learns_at_rungs(self, space: SearchSpace) -> bool:
        """Whether a trial that trains on counts as it was at its last rung."""
        return False

    @abstractmethod
    def study(
        self, encoder: OptunaEncoder, records: Sequence[TrialRecord], seed: int
    ) -> tuple[optuna.Study, bool]:
        """The study that makes one proposal, and whether its sampler uses its model.

        The model, if there is one, needs some of ``records`` to have a result.
        """


@config_class
class LearningSection(SamplerSection, ABC):
    """A sampler that learns."""

    warm_start: tuple[str, ...] = ()  # experiments of this storage, CSV or JSON files

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.warm_start:
            if self.warm_start.count(name) > 1:
                raise ValueError(f"warm_start is {list(self.warm_start)}; must name each once")


def startup_warning(space: SearchSpace, startup_trials: int) -> Iterator[str]:
    """The budget ends before the searcher learns from results."""
    if startup_trials >= space.budget.trials:
        yield (
            f"searcher.startup_trials is {startup_trials}, budget.trials {space.budget.trials}:"
            " no trial is proposed from earlier results"
        )


def condition_warning(space: SearchSpace) -> Iterator[str]:
    """The sampler has no model of parameters that are not always active."""
    drawn = [path for path, parameter in space.parameters.items() if parameter.when]
    if drawn:
        yield (
            f"searcher {space.searcher.name} draws conditional parameters at random:"
            f" {', '.join(drawn)}; tpe models them"
        )
