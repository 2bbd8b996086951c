"""TPE (Bergstra et al. 2011) on evidence that is prepared once for each proposal.

Optuna's `TPESampler` asks the study for all trials, splits them and reads their parameters anew for
each group of parameters that are active together. Here this is done once, and the densities are
computed on whole arrays (:mod:`tuning.search.parzen`). Both propose the same, up to rounding
(tests/tuning/search/test_tpe.py). The split by several values is Optuna's own, which is not public:
the same test notices if it changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from operator import attrgetter
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler, RandomSampler
from optuna.samplers._tpe.sampler import (
    _split_trials,
    default_gamma,
    default_gamma_multiobjective,
    default_weights,
)
from optuna.search_space.group_decomposed import _SearchSpaceGroup
from optuna.trial import FrozenTrial, TrialState

from tuning.search.optuna_encoder import Held
from tuning.search.parzen import Array, Distribution, Mixture

CANDIDATES = 24  # drawn from the good trials' density; the best ratio of densities is proposed


class Evidence:
    """Trials as TPE reads them; those that failed are left out.

    ``trials``: numbered in their order. ``distributions``: of the values in their rows.
    """

    def __init__(
        self,
        trials: Sequence[Held],
        distributions: Mapping[str, Distribution],
        directions: Sequence[str],
    ) -> None:
        used = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
        self.trials = [trial for trial in trials if trial.state in used]
        self.results = [trial for trial in self.trials if trial.state != TrialState.RUNNING]
        self.distributions, self.directions = distributions, directions
        self._column = {path: index for index, path in enumerate(distributions)}

    @cached_property
    def groups(self) -> list[dict[str, Distribution]]:
        """The largest sets of parameters of which a trial with a result has all or none."""
        found = _SearchSpaceGroup()
        for paths in dict.fromkeys(trial.active for trial in self.results):
            found.add_distributions({path: self.distributions[path] for path in paths})
        return [
            {path: one for path, one in sorted(group.items()) if not one.single()}
            for group in found.search_spaces
        ]

    @cached_property
    def halves(self) -> tuple[Array, Array]:
        """The rows of the good trials, and those of all others."""
        if len(self.directions) > 1:
            study = optuna.create_study(directions=self.directions)
            good = default_gamma_multiobjective(len(self.results))
            below, above = _split_trials(study, self.trials, good)
        else:
            best = sorted(self.results, key=attrgetter("rank"))[: default_gamma(len(self.results))]
            numbers = {trial.number for trial in best}
            below = [trial for trial in self.trials if trial.number in numbers]
            above = [trial for trial in self.trials if trial.number not in numbers]
        return self._matrix(below), self._matrix(above)

    def observations(self, half: Array, paths: Sequence[str]) -> dict[str, Array]:
        """The values of ``paths`` in the trials of ``half`` that have all of them."""
        values = half[:, [self._column[path] for path in paths]]
        active = values[~np.isnan(values).any(axis=1)]
        return {path: active[:, index] for index, path in enumerate(paths)}

    def _matrix(self, trials: Sequence[Held]) -> Array:
        return np.array([trial.row for trial in trials]).reshape(len(trials), len(self._column))


class TpeSampler(BaseSampler):
    """Optuna's `TPESampler(multivariate=True, group=True, constant_liar=True)` on ``evidence``.

    The trials of the study that asks are not looked at.
    """

    def __init__(self, evidence: Evidence, startup_trials: int, seed: int) -> None:
        self.evidence = evidence
        self.has_model = len(evidence.results) >= startup_trials
        self._generator = np.random.RandomState(seed)
        self._random = RandomSampler(seed=seed)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, Distribution]:
        """All parameters that a result has."""
        return {path: one for group in self.evidence.groups for path, one in group.items()}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, Distribution]
    ) -> dict[str, Any]:
        """Values of every group."""
        if not self.has_model:
            return {}
        groups = (self._sample(group) for group in self.evidence.groups if group)
        return {path: value for values in groups for path, value in values.items()}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: Distribution,
    ) -> Any:
        """The value of a parameter that no result has."""
        if not self.has_model:
            return self._random.sample_independent(study, trial, param_name, param_distribution)
        return self._sample({param_name: param_distribution})[param_name]

    def _sample(self, group: dict[str, Distribution]) -> dict[str, Any]:
        paths, (good, others) = list(group), self.evidence.halves
        seen = self.evidence.observations(good, paths)
        count, several = len(seen[paths[0]]), len(self.evidence.directions) > 1
        below = Mixture(group, seen, np.ones(count) if several else default_weights(count))
        seen = self.evidence.observations(others, paths)
        above = Mixture(group, seen, default_weights(len(seen[paths[0]])))
        drawn = below.sample(self._generator, CANDIDATES)
        best = int(np.argmax(below.log_density(drawn) - above.log_density(drawn)))
        return {path: one.to_external_repr(drawn[path][best].item()) for path, one in group.items()}
