"""Draws that look at no trial, by Optuna's sampler: the yardstick of the other searchers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from hpcm.schema import config_class
from tuning.ledger.records import TrialRecord
from tuning.search.sampler_section import SamplerSection
from tuning.spaces.space import SearchSpace

if TYPE_CHECKING:
    import optuna

    from tuning.search.optuna_encoder import OptunaEncoder
    from tuning.search.samplers import SamplerSearcher


@config_class
class Random(SamplerSection):
    """Independent draws from the distributions, and around the priors."""

    name: Literal["random"] = "random"

    def build(self, space: SearchSpace) -> SamplerSearcher:
        """It asks :meth:`study`."""
        from tuning.search.samplers import SamplerSearcher

        return SamplerSearcher(space, self)

    def study(
        self, encoder: OptunaEncoder, records: Sequence[TrialRecord], seed: int
    ) -> tuple[optuna.Study, bool]:
        """It looks at no trial."""
        from optuna.samplers import RandomSampler

        from tuning.search.optuna_encoder import study_of

        return study_of([], RandomSampler(seed=seed), encoder.directions), False
