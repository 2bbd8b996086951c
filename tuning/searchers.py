"""`searcher.name` to a Ray searcher: what to try next, or which unfinished trial to continue.

Ray's :class:`OptunaSearch` is kept for its interface and its define-by-run sampling. What differs:
the study that a proposal is drawn from is rebuilt from the ledger (:mod:`tuning.study`); each
proposal has a seed of its own, made of the space's seed and the trial's number; and outcomes are
told as they were. So a search that was killed and resumed proposes what one that was not killed
proposes, where trials run one after the other; and Optuna never hears of a trial twice.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from tuning.coordinates import Coordinate
from tuning.draws import grid
from tuning.draws import total_trials as total_trials
from tuning.ledger import Ledger
from tuning.schedulers import EpochScheduler
from tuning.searcher_sections import Grid, Random, Tpe
from tuning.space import SearchSpace
from tuning.study import Outcomes, evidence


class Proposer(OptunaSearch):
    """Proposes trials up to the budget; the prior is trial 0.

    Before a new trial come those that a killed driver left unfinished, under their old numbers, and
    those that the scheduler promotes. ``closing`` says that nothing more is to be started.
    """

    def __init__(
        self,
        space: SearchSpace,
        ledger: Ledger,
        scheduler: EpochScheduler,
        closing: Callable[[], bool],
    ) -> None:
        super().__init__(
            space=partial(define, space=space),
            metric=space.objective.metric,
            mode=space.objective.mode,
        )
        self.search_space, self.ledger, self.scheduler = space, ledger, scheduler
        self.closing = closing
        self.outcomes = Outcomes(space)
        self._waiting = [
            r.number for r in ledger.records() if not r.ended and not scheduler.waits(r.number)
        ]
        self._points = grid(space) if isinstance(space.searcher, Grid) else None
        self._total = total_trials(space)

    def suggest(self, trial_id: str) -> Any:
        """The flat config of the next trial with its number under ``trial``, or FINISHED."""
        if self.closing():
            return Searcher.FINISHED
        if self._waiting:
            number = self._waiting.pop(0)
        elif (promoted := self.scheduler.promote()) is not None:
            number = promoted
        elif len(self.ledger.trials) < self._total:
            number = len(self.ledger.trials)
            self._propose(number, trial_id)
        else:
            live = any(not r.ended and not r.paused for r in self.ledger.trials.values())
            return None if live else Searcher.FINISHED  # who runs may yet promote who waits
        record = self.ledger.trials[number]
        return {"trial": number, **record.params}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Nothing: the ledger has it."""

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing: the ledger has it."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the state."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing: the ledger is the state."""

    def _propose(self, number: int, trial_id: str) -> None:
        if number == 0:
            params, source = self.search_space.prior(), "prior"
        elif self._points is not None:
            params, source = self._points[number], "grid"
        else:
            params, source = self._draw(number, trial_id), self.search_space.searcher.name
        self.ledger.append("proposed", number, params=params, source=source)

    def _draw(self, number: int, trial_id: str) -> dict[str, Any]:
        made = sampler(self.search_space, number)
        self._ot_study = evidence(self.outcomes, self.ledger.records(), made)
        try:
            params: dict[str, Any] = super().suggest(trial_id)
        finally:
            self._ot_trials.pop(trial_id, None)
        return params


def build_searcher(
    space: SearchSpace, ledger: Ledger, scheduler: EpochScheduler, closing: Callable[[], bool]
) -> Proposer:
    """The searcher that the space names."""
    return Proposer(space, ledger, scheduler, closing)


def sampler(space: SearchSpace, number: int) -> BaseSampler:
    """Optuna's sampler for proposal ``number``, seeded by it."""
    section = space.searcher
    assert isinstance(section, Tpe | Random), "a grid needs no sampler"
    seed = int(np.random.SeedSequence([section.seed, number]).generate_state(1)[0])
    if isinstance(section, Random):
        return RandomSampler(seed=seed)
    with warnings.catch_warnings():  # `group` is experimental since 2021
        warnings.simplefilter("ignore", ExperimentalWarning)
        return TPESampler(
            seed=seed,
            n_startup_trials=section.startup_trials,
            multivariate=True,
            group=True,  # one density for each set of parameters that are active together
            constant_liar=True,  # running trials repel
        )


def define(trial: optuna.Trial, space: SearchSpace) -> None:
    """Draw one config by Optuna's define-by-run interface. At module level, so that it pickles."""
    space.walk(partial(suggest_coordinate, trial))


def suggest_coordinate(trial: optuna.Trial, coordinate: Coordinate) -> Any:
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
