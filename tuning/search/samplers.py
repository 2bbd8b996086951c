"""Proposals of Optuna's samplers: TPE, the Gaussian process, NSGA-II, random draws.

A proposal is a function of the space, the trial's number and the records: the sampler works on a
study that is built anew for each. Some are drawn around the prior instead (``prior_sampling.py``).
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import optuna
from optuna.samplers import GPSampler, NSGAIISampler

from tuning.ledger.records import TrialRecord
from tuning.results.outcome import best_of
from tuning.search.optuna_encoder import OptunaEncoder, frozen_trials, study_of
from tuning.search.prior_sampling import around_best, around_prior, prior_share
from tuning.search.sampler_section import SamplerSection
from tuning.search.searcher import INCUMBENT, PRIOR_SAMPLE, RANDOM, Proposal, Searcher, seeds
from tuning.spaces.coordinates import Coordinate
from tuning.spaces.space import SearchSpace


class SamplerSearcher(Searcher):
    """Asks the sampler of its section.

    The source of a proposal is ``prior_sample``, or the section's name, or ``random`` if the
    sampler's model had too few results to be used.
    """

    def __init__(self, space: SearchSpace, section: SamplerSection) -> None:
        super().__init__(space)
        self.section = section
        self.encoder = OptunaEncoder(space)
        self.rungs = space.rungs()[:-1] if section.learns_at_rungs(space) else []

    def propose(self, number: int, records: Sequence[TrialRecord], attempt: int = 0) -> Proposal:
        """Another one for each ``attempt``."""
        section = self.section
        seed, other = seeds(section.seed, number, attempt)
        generator = random.Random(other)
        records = [at_last_rung(record, self.rungs, self.encoder.metric) for record in records]
        results = sum(map(self.encoder.has_result, records))
        tried = [record.params for record in records]
        if generator.random() < prior_share(section, results):
            return around_prior(self.space, section, generator, tried), PRIOR_SAMPLE
        share = section.share_around_best(self.space, results)
        if share and generator.random() < share:
            best = best_of(records, self.space)
            if best is not None:
                return around_best(self.space, best.params, generator, tried), INCUMBENT
        study, has_model = section.study(self.encoder, records, seed)
        params = self.space.walk(partial(suggest, study.ask()))
        return params, section.name if has_model else RANDOM


def at_last_rung(record: TrialRecord, rungs: Sequence[int], metric: str) -> TrialRecord:
    """A trial that went on from a rung as if it waited there; any other one as it is.

    A searcher that sees trials only at their end learns nothing while the pilots train. What
    a trial reports beyond its last rung compares with nobody.
    """
    if record.ended or record.paused:
        return record
    for level in reversed(rungs):
        report = record.report_at(level)
        if report is not None and math.isfinite(report.get(metric, math.nan)):
            reports = [one for one in record.reports if one["epoch"] <= level]
            return replace(record, state="pending", paused=True, reports=reports)
    return record


def study_with(
    sampler: GPSampler | NSGAIISampler,
    encoder: OptunaEncoder,
    records: Sequence[TrialRecord],
    least: int,
) -> tuple[optuna.Study, bool]:
    """A study of ``records``, and whether ``least`` of them are whole: then there is a model."""
    study = study_of(frozen_trials(encoder, records, sampler), sampler, encoder.directions)
    whole = study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE])
    return study, len(whole) >= least


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
