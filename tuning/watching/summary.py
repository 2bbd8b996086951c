"""The end of a search on one screen: the best config beside the prior, its cost, what to run."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from tuning.ledger.folders import command_text
from tuning.ledger.records import ExperimentInfo, TrialRecord
from tuning.results.answer import answer_lines, metric_rows
from tuning.results.confirm_text import confirm_lines
from tuning.results.constraints import constraints_text
from tuning.results.ladder_text import ladder_lines
from tuning.results.outcome import ExperimentResult
from tuning.results.outlook import outlook_lines, wants_more
from tuning.results.pareto import pareto_front
from tuning.results.rank_fidelity_text import rank_fidelity_lines
from tuning.results.reference_lines import reference_lines
from tuning.spaces.wording import (
    ABSENT,
    columns,
    count_text,
    hours_text,
    metric_name,
    metric_text,
    params_text,
    value_text,
)

if TYPE_CHECKING:
    from tuning.results.export import Export


def summary_lines(result: ExperimentResult, export: Export | None) -> list[str]:
    """What is printed when a search has ended; ``export`` if there was a best trial."""
    lines = [_outcome(result), *_failures(result)]
    answer = answer_lines(result) if result.info.space.ranks_trials else ladder_lines(result)
    lines = [*lines[:1], "", *answer, *lines[1:]] if answer else lines
    if result.best is not None and result.best.scored(result.info.space.objective.score):
        lines += ["", *comparison_lines(result, result.best)]
    for more in (
        _infeasible(result),
        _front_lines(result),
        _confirm_lines(result),
        rank_fidelity_lines(result) if result.info.space.ranks_trials else [],
        outlook_lines(result.trials, result.info.space),
    ):
        lines += ["", *more] if more else []
    references = reference_lines(result.references, result.trials, result.info.space)
    lines += ["", *references] if references else []
    lines += ["", *_cost_lines(result)]
    if export is not None:
        lines += ["", *export_lines(export)]
    return [*lines, "", *_look_lines(result)]


def comparison_lines(result: ExperimentResult, best: TrialRecord) -> list[str]:
    """Metrics at the same epoch, then every parameter, of the prior and of the best trial."""
    rows = metric_rows(result, best)
    if best.is_prior:
        found = ", ".join(f"{name} {value}" for name, _, value, _ in rows[1:] if value != ABSENT)
        return [f"the prior config is the best one, {rows[0][0]}: {found}"]
    return columns([*rows, ("", "", "", ""), *_parameter_rows(result, best)])


def _infeasible(result: ExperimentResult) -> list[str]:
    """A line if there is no best trial because of the constraints."""
    objective = result.info.space.objective
    if result.best is not None or not any(t.scored(objective.score) for t in result.trials):
        return []
    if not objective.constraints:
        return []
    return [f"no trial that went furthest keeps {constraints_text(objective)}: there is no best"]


def _front_lines(result: ExperimentResult) -> list[str]:
    """The Pareto front, if two metrics were asked for."""
    space = result.info.space
    metrics = space.objective.pareto
    if not metrics:
        return []
    prior = space.values(space.prior())
    front = pareto_front(result.trials, space)
    rows = [
        (
            "prior" if trial.is_prior else f"trial {trial.number}",
            *(metric_text(metric, trial.last[metric]) for metric in metrics),
            params_text(space.values(trial.params), prior),
        )
        for trial in front
    ]
    names = [metric_name(metric) for metric in metrics]
    title = f"{' and '.join(names)}: {count_text(len(front), 'trial')} that no other beats in both"
    return [title, *columns([("", *names), *rows])]


def _confirm_lines(result: ExperimentResult) -> list[str]:
    """The finalists on fresh seeds, or why there are none."""
    confirm, found = result.info.space.confirm, result.confirmation
    if found is not None:
        return confirm_lines(found)
    if not confirm.top or not result.complete:
        return []
    if wants_more(result.trials, result.info.space):
        return ["not confirmed: the search was not brought to its end"]
    epoch, objective = result.info.space.fidelity.max, result.info.space.objective
    kept = f" and keeps {constraints_text(objective)}" if objective.constraints else ""
    return [f"nothing to confirm: no trial but the prior came to epoch {epoch}{kept}"]


def _parameter_rows(result: ExperimentResult, best: TrialRecord) -> list[tuple[str, ...]]:
    space = result.info.space
    before, after = space.values(space.prior()), space.values(best.params)
    return [
        (path, _or_absent(before, path), _or_absent(after, path))
        for path in space.parameters
        if path in before or path in after
    ]


def _or_absent(values: dict[str, Any], path: str) -> str:
    return value_text(values[path]) if path in values else ABSENT


def _outcome(result: ExperimentResult) -> str:
    words = {"finished": "finished", "stopped": "stopped early", "failed": "failed"}
    count = {w: sum(t.state == state for t in result.trials) for state, w in words.items()}
    count["unfinished"] = sum(not trial.ended for trial in result.trials)
    if result.driver:
        how = f"under way, run by {result.driver}"
    elif result.error:
        how = f"broke off: {result.error}"
    elif result.interrupted:
        how = f"interrupted; {resume_hint(result.info)}"
    elif not result.complete:
        how = f"not complete; {resume_hint(result.info)}"
    else:
        how = "complete"
    counts = ", ".join(f"{number} {word}" for word, number in count.items() if number)
    space = result.info.space
    trials = count_text(len(result.trials), "trial" if space.ranks_trials else "run")
    simulated = result.info.simulated
    what = f"SIMULATED on {simulated}: no trial was trained\n" if simulated else ""
    return f"{what}{space.kind} {result.info.name}: {how}\n{trials}" + (
        f": {counts}" if counts else ""
    )


def resume_hint(info: ExperimentInfo) -> str:
    """How to continue an experiment."""
    return f"continue with {command_text(f'{info.space.command} --resume', info.directory)}"


def _failures(result: ExperimentResult) -> list[str]:
    """Trials that failed, and nodes that were not used any more."""
    trials = [
        f"  trial {trial.number} failed: {trial.reason or 'no reason recorded'}"
        for trial in result.trials
        if trial.state == "failed"
    ]
    runs = [
        f"  trial {run.number}, which is trial {run.confirms} on seed {run.seed}, failed:"
        f" {run.reason or 'no reason recorded'}"
        for run in (result.confirmation.failures if result.confirmation else ())
    ]
    return [*trials, *runs, *(f"  drained {node}" for node in result.info.drained)]


def _cost_lines(result: ExperimentResult) -> list[str]:
    spent = f"spent {hours_text(result.hours_spent, result.unit)}: {result.counted}"
    if not (result.complete and result.hours_saved):
        return [spent]
    share = 100 * result.hours_saved / result.hours_full
    saved = hours_text(result.hours_saved, result.unit)
    return [f"{spent}; stopping early saved {saved} ({share:.0f} % of full training)"]


def export_lines(export: Export) -> list[str]:
    """Where the best config is, and the commands that use it."""
    both = f"  (and {export.stored})" if export.problem is None else f"  ({export.problem})"
    lines = [f"exported to  {export.shown}{both}"]
    if export.simulated:
        lines.append("  the best on the curves of a simulation, which trained nothing")
    if export.submitted:
        here = export.shown if not export.shown.is_absolute() else Path("best", export.shown.name)
        lines += [
            "  that is on the cluster, and the job's copy of the code goes with it; to have it",
            "  on your machine, in the project's folder, with the file that started the cluster:",
            f"  ray rsync-down CLUSTER.yaml {quote(str(export.stored))} {quote(str(here))}",
        ]
    if export.is_proxy and not export.simulated:
        lines += [
            "  a PROXY: a few hundred steps of a small model show mostly the learning rate;",
            "  it shows that everything works, and does not rank settings for the full model",
        ]
    return [*lines, *export.command_lines()]


def _look_lines(result: ExperimentResult) -> list[str]:
    directory = result.info.directory
    trained = [
        ("curves", f"tensorboard --logdir {quote(str(directory))}"),
        ("study", f"optuna-dashboard {quote(result.info.study)}"),
    ]
    lines = [
        *([] if result.info.simulated else trained),
        ("status", command_text("python -m tuning status", directory)),
    ]
    if any((directory / "wandb").glob("offline-run-*")):
        lines.append(("upload", f"wandb sync {quote(str(directory / 'wandb'))}/offline-run-*"))
    return columns(lines)
