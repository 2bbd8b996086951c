"""Ray Tune's own scheduler and searcher, driven as its controller drives them, without a cluster.

`AsyncHyperBandScheduler` is told of a trial (`on_trial_add`), of each result (`on_trial_result`)
and of its end; `OptunaSearch` proposes (`suggest`) and is told the same. A trial whose numbers are
not finite is an error to both, as one that raised.
"""

from __future__ import annotations

import logging
import math
import random
import warnings
from collections.abc import Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from tuning.search.samplers import suggest
from tuning.spaces.draws import draw
from tuning.spaces.space import SearchSpace

TIME = "training_iteration"


class RaySearch:
    """Stock ASHA, with TPE or with random draws; the prior first if asked."""

    def __init__(
        self, space: SearchSpace, seed: int, *, tpe: bool, prior_first: bool, factor: int = 3
    ) -> None:
        self.space, self.metric = space, space.objective.score
        self.generator = random.Random(seed)
        self.prior_first = prior_first
        self.scheduler = AsyncHyperBandScheduler(
            time_attr=TIME,
            metric=self.metric,
            mode=space.objective.mode,
            max_t=space.fidelity.max,
            grace_period=space.fidelity.min,
            reduction_factor=factor,
        )
        self.search = _optuna_search(space, seed, prior_first) if tpe else None
        self._trials: dict[int, Any] = {}

    def ask(self, number: int) -> dict[str, Any]:
        """The config of a new trial."""
        trial = self._trials[number] = SimpleNamespace(trial_id=str(number))
        self.scheduler.on_trial_add(None, trial)
        if self.search is not None:
            return dict(self.search.suggest(trial.trial_id) or {})
        if number == 0 and self.prior_first:
            return self.space.prior()
        return draw(self.space, self.generator)

    def tell(self, number: int, metrics: Mapping[str, float]) -> bool:
        """An epoch's metrics; whether the trial goes on."""
        trial, result = self._trials[number], {**metrics, TIME: int(metrics["epoch"])}
        if not math.isfinite(result[self.metric]):
            self.scheduler.on_trial_error(None, trial)
            if self.search is not None:
                self.search.on_trial_complete(trial.trial_id, error=True)
            return False
        action = self.scheduler.on_trial_result(None, trial, result)
        if self.search is not None:
            self.search.on_trial_result(trial.trial_id, result)
        if action == TrialScheduler.CONTINUE:
            return True
        self.scheduler.on_trial_complete(None, trial, result)
        if self.search is not None:
            self.search.on_trial_complete(trial.trial_id, result)
        return False


def _optuna_search(space: SearchSpace, seed: int, prior_first: bool) -> OptunaSearch:
    def define(trial: Any) -> None:
        space.walk(partial(suggest, trial))

    logging.getLogger("ray.tune.search.optuna").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return OptunaSearch(
            space=define,
            metric=space.objective.score,
            mode=space.objective.mode,
            seed=seed,
            points_to_evaluate=[space.prior()] if prior_first else None,
        )
