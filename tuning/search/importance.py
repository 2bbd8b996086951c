"""How much each parameter decides whether a trial is among the best: Optuna's PED-ANOVA.

For each parameter: how far its distribution among the best third is from that among all (Watanabe
et al. 2023, "PED-ANOVA", eq. 16), as a share of the sum over the parameters. A third, and not the
paper's tenth, because a search has tens of trials. A parameter that is active in some trials only
is judged among those, together with the parameters that all of them have.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, create_trial

from tuning.ledger.records import TrialRecord
from tuning.search.optuna_encoder import distribution
from tuning.spaces.space import SearchSpace

LEAST = 8  # trials with a score; with fewer nothing is said
BEST = 1 / 3  # of the trials
DRAWS = 40  # of the bootstrap
LEVEL = 0.9
MOST = 400  # trials of a draw: of more trials an interval is wider than it need be


@dataclass(frozen=True)
class Importance:
    """A parameter's share of what decides, in [0, 1]."""

    path: str  # of the coordinate
    share: float
    low: float  # of a 90 % percentile interval by bootstrap over the trials
    high: float
    trials: int  # in which it is active, and that have a score
    conditional: bool  # others have trials in which it is not active


def importances(
    trials: Sequence[TrialRecord], scores: Mapping[int, float], space: SearchSpace
) -> list[Importance]:
    """The importance of every coordinate that varies in enough trials, the largest first.

    ``scores``: of one epoch, by trial. Empty with fewer than ``LEAST`` of them.
    """
    known = [trial for trial in trials if trial.number in scores]
    if len(known) < LEAST:
        return []
    generator = np.random.default_rng(0)
    frozen = [_frozen(trial, scores[trial.number], space) for trial in known]
    found = []
    for group in _groups(known, space):
        members = [f for f in frozen if all(path in f.params for path in group)]
        common = [path for path in members[0].params if all(path in f.params for f in members)]
        varied = [path for path in common if len({str(f.params[path]) for f in members}) > 1]
        paths = [path for path in group if path in varied]
        if len(members) < LEAST or not paths:
            continue
        point = _shares(members, varied)
        drawn = [_shares(_draw(members, generator), varied) for _ in range(DRAWS)]
        for path in paths:
            low, high = np.quantile(
                [one.get(path, 0.0) for one in drawn], [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
            )
            found.append(
                Importance(
                    path=path,
                    share=point.get(path, 0.0),
                    low=float(low),
                    high=float(high),
                    trials=len(members),
                    conditional=len(members) < len(known),
                )
            )
    return sorted(found, key=lambda one: (one.conditional, -one.share))


def _groups(trials: Sequence[TrialRecord], space: SearchSpace) -> list[list[str]]:
    """Coordinates that are active in the same trials."""
    groups: dict[frozenset[int], list[str]] = {}
    for coordinate in space.coordinates():
        active = frozenset(t.number for t in trials if coordinate.path in t.params)
        if active:
            groups.setdefault(active, []).append(coordinate.path)
    return list(groups.values())


def _draw(members: list[FrozenTrial], generator: np.random.Generator) -> list[FrozenTrial]:
    count = min(len(members), MOST)
    return [members[k] for k in generator.integers(len(members), size=count)]


def _shares(members: Sequence[FrozenTrial], paths: list[str]) -> dict[str, float]:
    """Optuna's shares for these trials; none if all have one score."""
    varied = [path for path in paths if len({str(f.params[path]) for f in members}) > 1]
    if not varied or len({f.value for f in members}) < 2:
        return {}
    study = optuna.create_study()
    study.add_trials(members)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # experimental, and that a draw has few trials
        evaluator = PedAnovaImportanceEvaluator(target_quantile=BEST)
        found = get_param_importances(study, evaluator=evaluator, params=varied)
    return {path: float(share) for path, share in found.items()}


def _frozen(trial: TrialRecord, score: float, space: SearchSpace) -> FrozenTrial:
    distributions = {c.path: distribution(c) for c in space.coordinates() if c.path in trial.params}
    return create_trial(
        value=space.objective.sign * score,
        params={path: trial.params[path] for path in distributions},
        distributions=distributions,
    )
