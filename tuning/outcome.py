"""What an experiment came to: its best trial, and what it cost with and without early stopping."""

from __future__ import annotations

from collections.abc import Sequence

from tuning.confirm import confirmation
from tuning.records import ExperimentInfo, ExperimentResult, TrialRecord
from tuning.searchers.proposer import total_trials
from tuning.spaces.constraints import feasible
from tuning.spaces.space import SearchSpace


def experiment_result(
    info: ExperimentInfo,
    trials: Sequence[TrialRecord],
    confirmations: Sequence[TrialRecord] = (),
    *,
    budget_spent: bool = False,
    interrupted: bool = False,
    error: str | None = None,
) -> ExperimentResult:
    """The result of an experiment from its records; ``budget_spent``: its hours are over."""
    space = info.space
    all_ended = len(trials) >= total_trials(space) and all(trial.ended for trial in trials)
    found = confirmation(trials, confirmations, space) if all_ended else None
    confirmed = found.best if found else None
    all_ended = all_ended and (found is None or found.complete)
    again = sum(run.cost_hours for run in confirmations)
    return ExperimentResult(
        info=info,
        trials=list(trials),
        best=confirmed.trial if confirmed else best_of(trials, space),
        prior=next((trial for trial in trials if trial.is_prior), None),
        hours_spent=again + sum(trial.cost_hours for trial in trials),
        hours_full=again + sum(hours_without_stopping(trial, space) for trial in trials),
        unit="GPU" if space.resources.gpu else "CPU",
        complete=error is None and (all_ended or (budget_spent and not interrupted)),
        interrupted=interrupted and not all_ended,
        error=error,
        confirmation=found,
    )


def best_of(trials: Sequence[TrialRecord], space: SearchSpace) -> TrialRecord | None:
    """The best trial so far among those that went furthest, by the objective.

    None where none of these keeps the objective's constraints.
    """
    metric, sign = space.objective.metric, 1 if space.objective.mode == "min" else -1
    searched = [trial for trial in trials if trial.of is None and trial.state != "failed"]
    scored = [trial for trial in searched if metric in trial.last]
    furthest = max((trial.epochs for trial in scored), default=0)
    level = [
        trial for trial in scored if trial.epochs == furthest and feasible(trial, space.objective)
    ]
    return min(level, key=lambda trial: sign * trial.last[metric], default=None)


def hours_without_stopping(trial: TrialRecord, space: SearchSpace) -> float:
    """What the trial would have cost to the maximum fidelity; a failed one costs what it did."""
    if trial.state == "failed" or not trial.epochs:
        return trial.cost_hours
    return trial.cost_hours * max(1.0, space.fidelity.max / trial.epochs)
