"""The searcher that Ray asks: what to try next, or which unfinished trial to continue.

What is tried next is decided by :mod:`tuning.searchers.samplers` from the ledger alone, where Ray's
`OptunaSearch` keeps a study of its own: so a search that was killed and resumed proposes what one
that was not killed proposes, where trials run one after the other, and Optuna never hears of a
trial twice, or of a stopped one as if it were complete.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ray.tune.search import Searcher

from tuning.confirm import CONFIRM, SEED, wanted
from tuning.ledger import Ledger
from tuning.records import TrialRecord
from tuning.schedulers.build import EpochScheduler
from tuning.searchers.samplers import PRIOR, propose
from tuning.searchers.warm_start import evidence_in
from tuning.spaces.draws import grid, total_trials
from tuning.spaces.searcher_sections import Grid, Random
from tuning.spaces.space import SearchSpace
from tuning.study.outcomes import Outcomes

logger = logging.getLogger(__name__)

MOST_UNSAID = 2  # times that a trial is started again whose process ended without a word


class Proposer(Searcher):
    """Proposes trials up to the budget; the prior is trial 0.

    Before a new trial come those that a killed driver left unfinished, under their old numbers, and
    those that the scheduler promotes; after all of them come the runs that confirm. ``closing``
    says that nothing more is to be started, ``tell`` hears what a person should know.
    """

    def __init__(
        self,
        space: SearchSpace,
        ledger: Ledger,
        scheduler: EpochScheduler,
        closing: Callable[[], bool],
        tell: Callable[[str], None],
    ) -> None:
        super().__init__(metric=space.objective.metric, mode=space.objective.mode)
        self.search_space, self.ledger, self.scheduler = space, ledger, scheduler
        self.closing, self.tell = closing, tell
        self.outcomes = Outcomes(space)
        self._waiting = [
            number
            for number, record in sorted(ledger.trials.items())
            if not (record.ended or record.of is not None or scheduler.waits(number))
        ]
        self._once_more = {
            run.number
            for run in ledger.confirmations()
            if run.state == "failed" and not run.diverged and run.number not in ledger.reopened
        }
        self._earlier = evidence_in(ledger.path.parent, space)
        self._points = grid(space) if isinstance(space.searcher, Grid) else None
        self._total = total_trials(space)
        self._asked: dict[str, int] = {}  # trial, by Ray's id, since it was given to Ray
        self._unsaid = Counter[int]()  # times that a trial's process ended without a word

    def suggest(self, trial_id: str) -> Any:
        """The flat config of the next trial with its number under ``trial``, or FINISHED."""
        if self.closing():
            return Searcher.FINISHED
        if self._waiting:
            number = self._waiting.pop(0)
        elif (promoted := self.scheduler.promote()) is not None:
            number = promoted
        elif len(self.ledger.records()) < self._total:
            number = len(self.ledger.trials)
            self._propose(number)
        elif any(not r.ended and not r.paused for r in self.ledger.records()):
            return None  # who runs may yet promote who waits, and become a finalist
        elif (run := self._next_confirmation()) is not None:
            number = run
        elif any(not self.ledger.trials[n].ended for n in self._asked.values()):
            return None  # its process may yet end without a word
        else:
            return Searcher.FINISHED
        self._asked[trial_id] = number
        return sampled(self.ledger.trials[number])

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Nothing: the ledger has it."""

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Ray is done with it; the ledger knows why, or it is started again.

        Nobody else would, and the search would wait for it for ever.
        """
        number = self._asked.pop(trial_id, None)
        if number is None or self.closing():
            return
        record = self.ledger.trials[number]
        if record.ended or self.scheduler.waits(number) or number in self._waiting:
            return
        self._unsaid[number] += 1
        if self._unsaid[number] <= MOST_UNSAID:
            self._waiting.append(number)
        else:
            reason = f"its process ended {self._unsaid[number]} times and did not say why"
            self.ledger.append("failed", number, reason=reason)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is the state."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing: the ledger is the state."""

    def _propose(self, number: int) -> None:
        space = self.search_space
        if number == 0:
            params, source = space.prior(), PRIOR
        elif self._points is not None:
            tried = [record.params for record in self.ledger.records()]
            params = next(point for point in self._points if point not in tried)
            source = Grid.name
        else:
            params, source = self._drawn(number)
        self.ledger.append("proposed", number, params=params, source=source)

    def _drawn(self, number: int) -> tuple[dict[str, Any], str]:
        """The searcher's proposal; where it breaks, which ends no search, one drawn at random."""
        known = [*self._earlier, *self.ledger.records()]
        try:
            return propose(self.search_space, self.outcomes, number, known)
        except Exception as error:
            name = self.search_space.searcher.name
            self.tell(f"searcher {name} failed, trial {number} is drawn at random: {error}")
            logger.debug("searcher %s failed on trial %d", name, number, exc_info=True)
            at_random = Random(seed=getattr(self.search_space.searcher, "seed", 0))
            space = replace(self.search_space, searcher=at_random)
            return propose(space, self.outcomes, number, known)

    def _next_confirmation(self) -> int | None:
        """A run on a fresh seed: the next one that was not begun, or was cut short.

        One that failed in an earlier session, not by its numbers, is tried once more.
        """
        ledger = self.ledger
        made = {(run.of, run.seed): run for run in ledger.confirmations()}
        for trial, seed in wanted(ledger.records(), self.search_space):
            run = made.get((trial.number, seed))
            if run is None:
                number = len(ledger.trials)
                self._confirm(number, trial, seed)
                return number
            if run.number in self._asked.values():
                continue
            if run.state == "stopped" or run.number in self._once_more:  # the hours cut the former
                self._once_more.discard(run.number)
                ledger.append("reopened", run.number)
            if not run.ended:
                return run.number
        return None

    def _confirm(self, number: int, trial: TrialRecord, seed: int) -> None:
        """Propose the config of a finalist on another seed."""
        of, params = trial.number, trial.params
        self.ledger.append("proposed", number, params=params, source=CONFIRM, of=of, seed=seed)


def sampled(record: TrialRecord) -> dict[str, Any]:
    """What a trial's process is told: its number, its flat config, and a seed where it has one."""
    seed = {} if record.seed is None else {SEED: record.seed}
    return {"trial": record.number, **record.params, **seed}


def build_searcher(
    space: SearchSpace,
    ledger: Ledger,
    scheduler: EpochScheduler,
    closing: Callable[[], bool],
    tell: Callable[[str], None] = lambda text: None,
) -> Proposer:
    """The searcher that the space names."""
    return Proposer(space, ledger, scheduler, closing, tell)
