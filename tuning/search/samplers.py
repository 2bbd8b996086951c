"""What to try next: a pure function of the space, the trial's number and the records.

`propose` decides between the prior's neighbourhood (``prior_sampling.py``) and the searcher
that the space names. TPE, the Gaussian process, NSGA-II and random draws are Optuna's samplers on a
study that is built anew for each proposal; CMA-ES is :mod:`tuning.search.cma_es`.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler

from tuning.ledger.records import TrialRecord
from tuning.search.cma_es import cma_proposal
from tuning.search.optuna_encoder import OptunaEncoder, evidence
from tuning.search.prior_sampling import around_prior, prior_share
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
    known = () if isinstance(section, Random) else records  # it looks at none
    study = evidence(encoder, known, sampler(section, seed))
    params = space.walk(partial(suggest, study.ask()))
    return params, section.name if _has_model(section, study) else RANDOM


def sampler(section: Tpe | Gp | Nsga | Random, seed: int) -> BaseSampler:
    """Optuna's sampler for one proposal."""
    with warnings.catch_warnings():  # TPE's `group` is experimental since 2021
        warnings.simplefilter("ignore", ExperimentalWarning)
        match section:
            case Random():
                return RandomSampler(seed=seed)
            case Tpe():
                return TPESampler(
                    seed=seed,
                    n_startup_trials=section.startup_trials,
                    multivariate=True,
                    group=True,  # one density for each set of parameters that are active together
                    constant_liar=True,  # running trials repel
                )
            case Gp():
                return GPSampler(
                    seed=seed,
                    n_startup_trials=section.startup_trials,
                    warn_independent_sampling=False,  # said when the space is read
                )
            case Nsga():
                return NSGAIISampler(seed=seed, population_size=section.population)


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


def _has_model(section: Tpe | Gp | Nsga | Random, study: optuna.Study) -> bool:
    """Whether the sampler had enough results to use its model; see the samplers' own rules."""
    states = [optuna.trial.TrialState.COMPLETE]
    if isinstance(section, Tpe):
        states.append(optuna.trial.TrialState.PRUNED)
    results = len(study.get_trials(deepcopy=False, states=states))
    match section:
        case Tpe() | Gp():
            return results >= section.startup_trials
        case Nsga():
            return results >= section.population
        case Random():
            return False


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
