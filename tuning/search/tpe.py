"""TPE, by Optuna's sampler: the default."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from hpcm.schema import bounded, config_class
from tuning.search.sampler_section import LearningSection, startup_warning
from tuning.spaces.space import SearchSpace

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

    from tuning.search.samplers import SamplerSearcher


@config_class
class Tpe(LearningSection):
    """Tree-structured Parzen estimator, multivariate and conditional (Bergstra et al. 2011)."""

    name: Literal["tpe"] = "tpe"
    startup_trials: int = 12  # trials with a result before the model is used, >= 1

    def __post_init__(self) -> None:
        super().__post_init__()
        bounded(self, "startup_trials", least=1)

    def build(self, space: SearchSpace) -> SamplerSearcher:
        """It takes :meth:`sampler`."""
        from tuning.search.samplers import SamplerSearcher

        return SamplerSearcher(space, self)

    def sampler(self, seed: int) -> BaseSampler:
        """Optuna's sampler for one proposal."""
        from optuna.exceptions import ExperimentalWarning
        from optuna.samplers import TPESampler

        with warnings.catch_warnings():  # its `group` is experimental since 2021
            warnings.simplefilter("ignore", ExperimentalWarning)
            return TPESampler(
                seed=seed,
                n_startup_trials=self.startup_trials,
                multivariate=True,
                group=True,  # one density for each set of parameters that are active together
                constant_liar=True,  # running trials repel
            )

    def has_model(self, complete: int, stopped: int) -> bool:
        """Stopped trials count."""
        return complete + stopped >= self.startup_trials

    def warnings(self, space: SearchSpace) -> Iterator[str]:
        """A budget without a model."""
        yield from startup_warning(space, self.startup_trials)
