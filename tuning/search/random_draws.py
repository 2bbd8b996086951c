"""Draws that look at no trial, by Optuna's sampler: the yardstick of the other searchers."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from hpcm.schema import config_class
from tuning.search.sampler_section import SamplerSection
from tuning.spaces.space import SearchSpace

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

    from tuning.search.samplers import SamplerSearcher


@config_class
class Random(SamplerSection):
    """Independent draws from the distributions, and around the priors."""

    learns: ClassVar[bool] = False
    name: Literal["random"] = "random"

    def build(self, space: SearchSpace) -> SamplerSearcher:
        """It takes :meth:`sampler`."""
        from tuning.search.samplers import SamplerSearcher

        return SamplerSearcher(space, self)

    def sampler(self, seed: int) -> BaseSampler:
        """Optuna's sampler for one proposal."""
        from optuna.samplers import RandomSampler

        return RandomSampler(seed=seed)

    def has_model(self, complete: int, stopped: int) -> bool:
        """It has none."""
        return False
