"""Proposals of Optuna's samplers: TPE, the Gaussian process, NSGA-II, random draws.

A proposal is a function of the space, the trial's number and the records: the sampler works on a
study that is built anew for each. Some are drawn around the prior instead (``prior_sampling.py``).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from typing import Any

import optuna

from tuning.ledger.records import TrialRecord
from tuning.search.optuna_encoder import OptunaEncoder, evidence
from tuning.search.prior_sampling import around_prior, prior_share
from tuning.search.sampler_section import SamplerSection
from tuning.search.searcher import PRIOR_SAMPLE, RANDOM, Proposal, Searcher, seeds
from tuning.spaces.coordinates import Coordinate
from tuning.spaces.space import SearchSpace


class SamplerSearcher(Searcher):
    """Asks the sampler of its section.

    The source of a proposal is ``prior_sample``, or the section's name, or ``random`` where the
    sampler's model had too few results to be used.
    """

    def __init__(self, space: SearchSpace, section: SamplerSection) -> None:
        super().__init__(space)
        self.section = section
        self.encoder = OptunaEncoder(space)

    def propose(self, number: int, records: Sequence[TrialRecord], attempt: int = 0) -> Proposal:
        """Another one for each ``attempt``."""
        section = self.section
        seed, other = seeds(section.seed, number, attempt)
        generator = random.Random(other)
        if generator.random() < prior_share(section, sum(map(self.encoder.has_result, records))):
            tried = [record.params for record in records]
            return around_prior(self.space, section, generator, tried), PRIOR_SAMPLE
        known = records if section.learns else ()
        study = evidence(self.encoder, known, section.sampler(seed))
        params = self.space.walk(partial(suggest, study.ask()))
        return params, section.name if _has_model(section, study) else RANDOM


def suggest(trial: optuna.Trial, coordinate: Coordinate) -> Any:
    """Ask ``trial`` for one coordinate."""
    match coordinate.type:
        case "float":
            return trial.suggest_float(
                coordinate.path, coordinate.low, coordinate.high, log=coordinate.log
            )
        case "int":
            return trial.suggest_int(
                coordinate.path, coordinate.low, coordinate.high, log=coordinate.log
            )
        case "categorical":
            return trial.suggest_categorical(coordinate.path, coordinate.choices)


def _has_model(section: SamplerSection, study: optuna.Study) -> bool:
    """Whether the sampler had enough results to use its model."""
    states = [trial.state for trial in study.get_trials(deepcopy=False)]
    complete, stopped = optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED
    return section.has_model(states.count(complete), states.count(stopped))
