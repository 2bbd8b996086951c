"""What to try next: a pure function of the space, the trial's number and the records.

`propose` decides between the prior's neighbourhood (``prior_sampling.py``) and the searcher
that the space names. TPE, the Gaussian process, NSGA-II and random draws are Optuna's samplers on a
study that is built anew for each proposal; CMA-ES is :mod:`tuning.search.cma_es`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import optuna
from optuna.samplers import GPSampler, NSGAIISampler, RandomSampler

from tuning.ledger.records import TrialRecord
from tuning.search.cma_es import cma_proposal
from tuning.search.optuna_encoder import OptunaEncoder, frozen_trials, study_of
from tuning.search.prior_sampling import around_prior, prior_share
from tuning.search.tpe import Evidence, TpeSampler
from tuning.spaces.coordinates import Coordinate
from tuning.spaces.searcher_sections import CmaEs, Gp, Grid, Nsga, Random, Tpe
from tuning.spaces.space import SearchSpace

PRIOR, PRIOR_SAMPLE, RANDOM = "prior", "prior_sample", "random"  # where a proposal came from


def propose(
    space: SearchSpace,
    encoder: OptunaEncoder,
    number: int,
    records: Sequence[TrialRecord],
    attempt: int = 0,
) -> tuple[dict[str, Any], str]:
    """The flat config of trial ``number``, and its source; another one for each ``attempt``.

    ``records``: the trials so far, those of earlier experiments (`warm_start`) before them. The
    source is ``prior_sample``, or the searcher's name, or ``random`` where its model had too few
    results to be used.
    """
    section = space.searcher
    assert not isinstance(section, Grid), "a grid is enumerated"
    words = [section.seed, number, *([attempt] if attempt else ())]
    seed, other = (int(word) for word in np.random.SeedSequence(words).generate_state(2))
    if isinstance(section, CmaEs):
        return cma_proposal(space, section, _scored(encoder, records), seed), section.name
    generator = random.Random(other)
    if generator.random() < prior_share(section, sum(map(encoder.has_result, records))):
        tried = [record.params for record in records]
        return around_prior(space, section, generator, tried), PRIOR_SAMPLE
    study, has_model = _study(section, encoder, records, seed)
    params = space.walk(partial(suggest, study.ask()))
    return params, section.name if has_model else RANDOM


def _study(
    section: Tpe | Gp | Nsga | Random,
    encoder: OptunaEncoder,
    records: Sequence[TrialRecord],
    seed: int,
) -> tuple[optuna.Study, bool]:
    """A study for one proposal, and whether its sampler has enough results to use its model."""
    sampler: GPSampler | NSGAIISampler
    match section:
        case Random():  # it looks at no trial
            return study_of([], RandomSampler(seed=seed), encoder.directions), False
        case Tpe():
            trials = frozen_trials(encoder, records)
            evidence = Evidence(trials, encoder.distributions, encoder.directions)
            tpe = TpeSampler(evidence, section.startup_trials, seed)
            return study_of([], tpe, encoder.directions), tpe.has_model
        case Gp():
            least = section.startup_trials
            sampler = GPSampler(
                seed=seed,
                n_startup_trials=least,
                warn_independent_sampling=False,  # said when the space is read
            )
        case Nsga():
            least = section.population
            sampler = NSGAIISampler(seed=seed, population_size=least)
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


def _scored(
    encoder: OptunaEncoder, records: Sequence[TrialRecord]
) -> list[tuple[dict[str, Any], tuple[float, ...]]]:
    """CMA-ES's own proposals that have a result, with what sorts them.

    Those that keep the constraints come first, then those that went further, as in TPE.
    """
    worst = encoder.worst(records)
    found: list[tuple[dict[str, Any], tuple[float, ...]]] = []
    for record in records:
        if record.source == CmaEs.name and encoder.has_result(record):
            frozen = encoder.frozen(record, worst)
            if frozen.value is None:  # diverged before anybody had a number
                continue
            missed = sum(max(0.0, value) for value in frozen.constraints.values())
            epochs = encoder.most if record.diverged else record.epochs
            sign = 1.0 if encoder.mode == "min" else -1.0
            found.append((record.params, (missed, -float(epochs), sign * frozen.value)))
    return found
