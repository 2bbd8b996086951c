"""`Search`: the one object that decides what a driver starts next and which trial goes on.

    search.next()               a trial to start or to continue, or that there is none
    search.started(trial)       it has a process
    search.report(trial, m)     an epoch's metrics; gives whether the trial goes on
    search.gave_up(trial, why)  it says itself that it cannot go on
    search.broke(trial, f)      its process broke; gives whether it is started again
    search.process_ended(trial) its process is gone, for whatever reason
    search.end()                nothing more is started or promoted

Its only state is the ledger: who drives it (Ray on a cluster, a clock in a simulation) may die
after any line, and a new `Search` on the same ledger decides as the old one would have. It knows no
process, no checkpoint and no clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Literal

from tuning.ledger.events import (
    Drained,
    Failed,
    Proposed,
    Reopened,
    Report,
    Retried,
    Started,
    Stopped,
    Suspended,
)
from tuning.ledger.failures import Failure
from tuning.ledger.ledger import Ledger
from tuning.results.confirm import planned_runs
from tuning.results.outlook import ends_by_noise
from tuning.search.decisions import Decision, Idle, Retry, Start
from tuning.search.population import Copy
from tuning.search.proposals import Proposals
from tuning.search.reference_reuse import Reports, copy_reports
from tuning.search.retries import certain_failure, final_reason, may_retry
from tuning.search.scheduler import EpochScheduler
from tuning.search.sessions import IN_A_ROW, refused
from tuning.spaces.draws import total_trials
from tuning.spaces.space import SearchSpace

Reason = Literal["signal", "hours", "refused", "broken"]

CONFIRM = "confirm"  # where the params of a run that confirms came from
REFERENCE = "reference"  # and those of a reference run
MOST_SILENT_EXITS = 2  # times that a trial is started again whose process ended without a word


class Search:
    """What is tried, compared, promoted, stopped, confirmed and tried again in one session.

    ``copy`` gives a trial another's checkpoint (only `pbt` needs it); ``notify`` hears what a
    person should know. The ledger must be open: see :func:`tuning.search.sessions.open_session`.
    """

    def __init__(
        self,
        space: SearchSpace,
        ledger: Ledger,
        copy: Copy | None = None,
        notify: Callable[[str], None] = lambda text: None,
        references: Mapping[float, Reports] | None = None,
    ) -> None:
        """``references``: by lmbda the reports of reference runs that are not trained here."""
        self.space, self.ledger = space, ledger
        self.scheduler: EpochScheduler = space.scheduler.build(space, ledger, copy)
        self.scheduler.notify = notify
        self.scheduler.reconcile()
        self.proposals = Proposals(space, ledger, notify)
        self.notify = notify
        self._references = references or {}
        copy_reports(ledger, self._references)  # a driver may have died amid it
        self._total = total_trials(space)
        self.closing: Reason | None = None  # why nothing more is started, once that is so
        self._restarts = [  # to be started again, by number
            number
            for number, record in sorted(ledger.trials.items())
            if not (record.ended or record.role == "confirm" or record.paused)
        ]
        self._restarts.sort(key=lambda number: ledger.trials[number].role != "reference")
        self._failed_confirmations = {  # of earlier sessions, and not by their numbers
            run.number
            for run in ledger.confirmations()
            if run.state == "failed" and not run.diverged and run.number not in ledger.reopened
        }
        self._handed_out: set[int] = set()  # trials that the driver has
        self._silent_exits = Counter[int]()

    # --- what is next ------------------------------------------------------------------------

    def next(self) -> Start | Idle:
        """A trial to start, or to continue from its newest checkpoint; or that there is none.

        First come reference runs and trials that were cut short, then those that waited for
        reference runs, then those that are promoted, then new ones, and at last runs that confirm.
        """
        if self.is_closing():
            return Idle.OVER
        number = self._next_number()
        if isinstance(number, Idle):
            return number
        self._handed_out.add(number)
        record = self.ledger.trials[number]
        return Start(number, record.params, record.seed, self._reference_lmbda(number))

    def _reference_lmbda(self, trial: int) -> float | None:
        """The lmbda of the reference run that this trial is, or confirms; None if it is neither."""
        of = self.ledger.trials[trial].confirms
        return self.ledger.trials[trial if of is None else of].lmbda

    def _next_number(self) -> int | Idle:
        ledger = self.ledger
        self._propose_references()
        if self._restarts:
            return self._restarts.pop(0)
        if (released := self.scheduler.released()) is not None:
            return released
        if (promoted := self.scheduler.promote()) is not None:
            return promoted
        records = ledger.records()
        if len(records) < self._total and not ends_by_noise(records, self.space):
            number = len(ledger.trials)
            proposed = self.proposals.next(number)
            if proposed is not None:
                ledger.append(proposed)
                return number
            self._total = len(ledger.records())
            self.notify(f"every config was tried: the search ends with {self._total} trials")
        if any(not record.ended and not record.paused for record in ledger.records()):
            return Idle.NOT_NOW  # who runs may yet promote who waits, and become a finalist
        if any(not run.ended for run in ledger.reference_runs()):
            return Idle.NOT_NOW  # trials may wait for it
        if (run := self._next_confirmation()) is not None:
            return run
        if any(not ledger.trials[number].ended for number in self._handed_out):
            return Idle.NOT_NOW  # its process may yet end without a word
        return Idle.OVER

    def _propose_references(self) -> None:
        """The prior, then the reference runs, which start before it: trials wait for them."""
        ledger = self.ledger
        there = {run.lmbda for run in ledger.reference_runs()}
        missing = [lmbda for lmbda in self.space.reference_lmbdas() if lmbda not in there]
        if not missing:
            return
        if not ledger.trials:
            prior = self.proposals.next(0)
            assert prior is not None
            ledger.append(prior)
            self._restarts.append(0)
        first = []
        for lmbda in missing:
            number = len(ledger.trials)
            params = self.space.reference_params(lmbda)
            ledger.append(Proposed(number, params, REFERENCE, lmbda=lmbda))
            if lmbda not in self._references:
                first.append(number)
        copy_reports(ledger, self._references)
        self._restarts = [*first, *self._restarts]

    def _next_confirmation(self) -> int | None:
        """A run on a fresh seed: the next one that was not begun, or was cut short.

        One that failed in an earlier session, not by its numbers, is tried once more.
        """
        ledger = self.ledger
        made = {(run.confirms, run.seed): run for run in ledger.confirmations()}
        for trial, seed in planned_runs(ledger.records(), self.space, ledger.reference_runs()):
            run = made.get((trial.number, seed))
            if run is None:
                number = len(ledger.trials)
                ledger.append(Proposed(number, trial.params, CONFIRM, of=trial.number, seed=seed))
                return number
            if run.number in self._handed_out:
                continue
            if run.state == "stopped" or run.number in self._failed_confirmations:
                self._failed_confirmations.discard(run.number)
                ledger.append(Reopened(run.number))
            if not run.ended:
                return run.number
        return None

    # --- what happened -----------------------------------------------------------------------

    def started(self, trial: int, where: str | None = None) -> None:
        """The trial has a process; ``where`` is the driver's own name of it."""
        self.ledger.append(Started(trial, where))

    def report(
        self, trial: int, metrics: Mapping[str, float], *, restored: bool = False
    ) -> Decision:
        """An epoch's metrics, ``epoch`` among them; what becomes of the trial.

        ``restored``: the epoch of the checkpoint that it continues, which it reports once more.
        """
        record = self.ledger.trials[trial]
        before = record.epochs
        if not (restored and metrics["epoch"] <= before):
            self.ledger.append(Report(trial, dict(metrics)))
        return self.scheduler.conclude(record, metrics, before)

    def gave_up(self, trial: int, reason: str, diverged: bool = False) -> Decision:
        """The trial itself says that it cannot go on: its numbers diverged, or it was refused."""
        return self.scheduler.fail(self.ledger.trials[trial], reason, diverged)

    def suspended(self, trial: int) -> None:
        """The trial saved and ended because the session closes."""
        self.ledger.append(Suspended(trial))

    def broke(
        self, trial: int, failure: Failure, node: str | None = None, other_node: bool = False
    ) -> Retry:
        """The trial's process broke on ``node``; whether it is started again.

        ``other_node``: whether a node besides the ones on which it broke could run it. While the
        session closes it is no failure: the end of a job may kill all of its processes.
        """
        record = self.ledger.trials[trial]
        if record.ended or record.paused:  # it broke while it was ended
            return Retry(False)
        if self.closing is not None:
            self.suspended(trial)
            return Retry(False)
        lmbda = self._reference_lmbda(trial)
        certain = certain_failure(self.space, record, failure, node, other_node, lmbda)
        if certain.reason is None and may_retry(record, failure):
            self.ledger.append(Retried(trial, failure.text, failure.kind, node))
            self.start_again(trial)
            return Retry(True, certain.elsewhere)
        reason = certain.reason or final_reason(record, failure)
        self.ledger.append(Failed(trial, reason, kind=failure.kind, node=node))
        return Retry(False)

    def start_again(self, trial: int) -> None:
        """The next trial to start is this one."""
        if trial not in self._restarts:
            self._restarts.append(trial)

    def process_ended(self, trial: int) -> None:
        """The trial's process is gone; if nobody said why, the trial is started again.

        Nobody else would, and the search would wait for it for ever.
        """
        if trial not in self._handed_out:
            return
        self._handed_out.discard(trial)
        record = self.ledger.trials[trial]
        if self.is_closing() or record.ended or record.paused:
            return
        if trial in self._restarts:
            return
        self._silent_exits[trial] += 1
        if self._silent_exits[trial] <= MOST_SILENT_EXITS:
            self._restarts.append(trial)
        else:
            times = self._silent_exits[trial]
            self.scheduler.fail(record, f"its process ended {times} times and did not say why")

    def drained(self, node: str, host: str, trials: list[int], reason: str) -> None:
        """The driver does not use this node any more."""
        self.ledger.append(Drained(node, host, reason, trials))

    # --- the end -----------------------------------------------------------------------------

    def close(self, reason: Reason) -> None:
        """Start nothing more. A signal counts more than what was before it."""
        self.closing = reason if self.closing is None else "signal"

    def is_closing(self) -> bool:
        """Whether nothing more is started: it was asked to end, or it cannot go on."""
        if self.closing is None and self.refusal is not None:
            self.close("refused")
        if self.closing is None and len(self.ledger.failed_in_a_row) >= IN_A_ROW:
            self.close("broken")
        return self.closing is not None

    @property
    def refusal(self) -> str | None:
        """Why the nodes of trials refuse the prior's config; then they would refuse all."""
        return refused(self.ledger)

    @property
    def problem(self) -> str | None:
        """Why the search breaks off: what an experiment cannot go on with. None: it does not."""
        if self.closing == "refused":
            return f"the prior was refused: {self.refusal}"
        if self.closing == "broken":
            row = self.ledger.failed_in_a_row
            last = self.ledger.trials[row[-1]].reason
            return f"{len(row)} trials failed one after the other, the last: {last}"
        return None

    def end(self) -> None:
        """Nothing more is promoted; what the end of the hours cuts is stopped.

        A search that a signal interrupted leaves its trials as they are: a resume continues them.
        """
        if self.closing != "signal":
            self.scheduler.give_up()

    def stop_what_is_left(self) -> None:
        """The hours are spent: every trial that has not ended is stopped at its epoch."""
        hours = self.space.budget.hours
        reason = "the hours are spent" if hours is None else f"the {hours:g} hours are spent"
        for record in self.ledger.trials.values():
            if not record.ended:
                self.ledger.append(Stopped(record.number, reason))
