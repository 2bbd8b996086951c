"""The result of an experiment: its best trial, its cost with and without early stopping."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from tuning.ledger.records import ExperimentInfo, TrialRecord
from tuning.ledger.state import ExperimentState
from tuning.results.confirm import Confirmation, confirmation
from tuning.results.constraints import feasible
from tuning.results.outlook import wants_more
from tuning.results.rank_fidelity import Rungs
from tuning.spaces.space import SearchSpace
from tuning.spaces.wording import count_text


@dataclass(frozen=True)
class ExperimentResult:
    """How an experiment ended. ``complete`` decides the exit code of the command line."""

    info: ExperimentInfo
    trials: list[TrialRecord]  # by number
    best: TrialRecord | None  # by the mean over fresh seeds, else among those that went furthest
    prior: TrialRecord | None
    hours_spent: float  # GPU- or CPU-hours of training
    hours_full: float  # what the same trials would have cost without early stopping
    counted: str  # what the hours were spent on, in words
    unit: Literal["GPU", "CPU"]
    complete: bool  # every trial of the budget has ended, or its hours are spent
    interrupted: bool  # by SIGINT or SIGTERM
    error: str | None = None  # why the search itself broke off, if it did
    confirmation: Confirmation | None = None  # of the finalists, once the search is over
    references: tuple[TrialRecord, ...] = ()  # the reference runs, by number
    rungs: Rungs = field(default_factory=dict)  # by epoch, by trial: what was decided
    driver: str = ""  # who runs it, if it was read while a search is under way

    @property
    def baseline(self) -> TrialRecord | None:
        """The reference run at the trials' own lmbda."""
        own = self.info.space.lmbda
        return next((run for run in self.references if run.lmbda == own), None)

    @property
    def hours_saved(self) -> float:
        """Hours that early stopping did not spend."""
        return max(0.0, self.hours_full - self.hours_spent)


def experiment_result(
    info: ExperimentInfo,
    state: ExperimentState,
    *,
    budget_spent: bool = False,
    interrupted: bool = False,
    error: str | None = None,
) -> ExperimentResult:
    """The result of an experiment from its ledger; ``budget_spent``: its hours are over."""
    space, trials = info.space, state.records()
    confirmations, references = state.confirmations(), state.reference_runs()
    all_ended = all(trial.ended for trial in trials) and not wants_more(trials, space)
    found = confirmation(trials, confirmations, space, references) if all_ended else None
    confirmed = found.best if found else None
    all_ended = all_ended and (found is None or found.complete)
    others = sum(run.cost_hours for run in (*confirmations, *references))
    chosen = confirmed.trial if confirmed else best_of(trials, space)
    prior = next((trial for trial in trials if trial.is_prior), None)
    if all_ended and space.reference_lmbdas() and not any(_whole(trial, space) for trial in trials):
        chosen = prior if prior is not None and prior.state == "finished" else None
    return ExperimentResult(
        info=info,
        trials=trials,
        best=chosen,
        prior=prior,
        hours_spent=others + sum(trial.cost_hours for trial in trials),
        hours_full=others + sum(hours_without_stopping(trial, space) for trial in trials),
        counted=counted_text(trials, references, confirmations, space),
        unit="GPU" if space.resources.gpu else "CPU",
        complete=error is None and (all_ended or (budget_spent and not interrupted)),
        interrupted=interrupted and not all_ended,
        error=error,
        confirmation=found,
        references=tuple(references),
        rungs=state.rungs,
    )


def counted_text(
    trials: Sequence[TrialRecord],
    references: Sequence[TrialRecord],
    confirmations: Sequence[TrialRecord],
    space: SearchSpace,
) -> str:
    """The runs that the hours of an experiment were spent on: ``8 trials, 3 reference runs``."""
    groups = {
        "trial" if space.ranks_trials else "run": trials,
        "reference run": references,
        "confirming run": confirmations,
    }
    counts = {noun: sum(run.cost_hours > 0 for run in runs) for noun, runs in groups.items()}
    texts = [count_text(count, noun) for noun, count in counts.items() if count]
    return ", ".join(texts) or "no run yet"


def best_of(trials: Sequence[TrialRecord], space: SearchSpace) -> TrialRecord | None:
    """The best trial so far, at the highest epoch at which trials can be compared.

    That is the maximum fidelity once a trial is there; before, the highest epoch that two of them
    reported the objective at. None if no trial there keeps the objective's constraints, and in a
    ladder.
    """
    if not space.ranks_trials:
        return None
    metric, sign = space.objective.score, space.objective.sign
    searched = [trial for trial in trials if trial.role == "search" and trial.state != "failed"]
    whole = [trial for trial in searched if _whole(trial, space)]
    if whole:  # no curve is walked through, as it would be at every screen of a long search
        scores = {trial.number: trial.scored(metric)[metric] for trial in whole}
    else:
        scores = _scores_at_a_common_epoch(searched, metric)
    level = [t for t in searched if t.number in scores and feasible(t, space.objective)]
    return min(level, key=lambda trial: sign * scores[trial.number], default=None)


def _scores_at_a_common_epoch(trials: Sequence[TrialRecord], metric: str) -> dict[int, float]:
    """Scores by trial, at the highest epoch that two trials share; if none do, at the highest."""
    curves = {trial.number: trial.curve(metric) for trial in trials}
    reached = Counter(epoch for curve in curves.values() for epoch in curve)
    shared = [epoch for epoch, count in reached.items() if count > 1]
    epoch = max(shared or reached, default=0)
    return {number: curve[epoch] for number, curve in curves.items() if epoch in curve}


def ranked(trials: Sequence[TrialRecord], space: SearchSpace) -> list[TrialRecord]:
    """Those with a score, best first: in the order of `best_of` at the epoch at which it compares.

    Then those that did not get so far, or failed: first those that got further or score better.
    """
    metric, sign = space.objective.score, space.objective.sign
    sound = [t for t in trials if t.state != "failed"]
    level = {t.number: t.scored(metric)[metric] for t in sound if _whole(t, space)}
    level = level or _scores_at_a_common_epoch(sound, metric)

    def place(trial: TrialRecord) -> tuple[float, ...]:
        there = trial.number in level
        score = level[trial.number] if there else trial.scored(metric)[metric]
        return trial.state == "failed", not there, 0 if there else -trial.epochs, sign * score

    scored = [t for t in trials if math.isfinite(t.scored(metric).get(metric, math.nan))]
    return sorted(scored, key=place)


def _whole(trial: TrialRecord, space: SearchSpace) -> bool:
    """Whether a trial has a score at the maximum fidelity."""
    return trial.scored(space.objective.score).get("epoch") == space.fidelity.max


def at_common_epoch(
    best: TrialRecord, prior: TrialRecord | None, metric: str
) -> tuple[dict[str, float], dict[str, float]]:
    """A report of the best trial that has ``metric``, and the prior's of the same epoch.

    The newest; if the prior went as far, the newest of an epoch at which both have it. The
    prior's is empty if there is none. Any report counts if the best trial has none with
    ``metric``: a rate at equal quality is defined only within the reference curve.
    """
    scored = bool(best.scored(metric))

    def counted(trial: TrialRecord) -> dict[float, dict[str, float]]:
        return {r["epoch"]: r for r in trial.reports if metric in r or not scored}

    mine, theirs = counted(best), counted(prior) if prior else {}
    both = mine.keys() & theirs.keys()
    as_far = prior is not None and prior.epochs >= max(mine)
    epoch = max(both if both and as_far else mine)
    return mine[epoch], theirs.get(epoch, {})


def hours_without_stopping(trial: TrialRecord, space: SearchSpace) -> float:
    """What the trial would have cost to the maximum fidelity; a failed one costs what it did."""
    if trial.state == "failed" or not trial.epochs:
        return trial.cost_hours
    return trial.cost_hours * max(1.0, space.fidelity.max / trial.epochs)
