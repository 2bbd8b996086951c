"""An experiment that ran or is running: its result, and its trials as pandas tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from tuning import storage as places
from tuning.ledger import Ledger, read_events
from tuning.outcome import ExperimentResult, experiment_result
from tuning.records import ExperimentInfo, TrialRecord
from tuning.spaces.space import SearchSpace
from tuning.study.storage import STUDY_FILE


def read_result(experiment: str, storage: str = places.DEFAULT_STORAGE) -> ExperimentResult:
    """An experiment as its ledger has it, without touching it; ``last`` is the one that ran last.

    Raises :class:`ConfigError` where there is none.
    """
    directory = places.find(places.storage_folder(storage, write=False), experiment)
    space = places.read_experiment(directory)
    ledger = Ledger(directory, devices=space.resources.devices)
    closed = [line for line in read_events(directory) if line["event"] in ("opened", "closed")]
    last = closed[-1] if closed else {}
    opened = [line for line in closed if line["event"] == "opened"]
    study = opened[-1].get("study") if opened else None  # a database; else the file
    info = ExperimentInfo(
        name=directory.name,
        directory=directory,
        space=space,
        resumed=False,
        dashboard_url=None,
        token_hint=None,
        address="",
        resources={},
        drained=ledger.drained,
        study=study or str(directory / STUDY_FILE),
    )
    result = experiment_result(
        info,
        ledger.records(),
        ledger.confirmations(),
        budget_spent=bool(last.get("complete")),
        interrupted=bool(last.get("interrupted")),
        error=last.get("error"),
    )
    owner = places.driver_of(directory)
    return replace(result, driver=places.owner_text(owner)) if owner else result


def trials_table(trials: Sequence[TrialRecord], space: SearchSpace) -> pd.DataFrame:
    """One row per trial: source, state, epochs, last metrics, cost, and every parameter's value.

    A parameter that is not active in a trial is missing there; ``waiting`` is a trial at a rung.
    """
    rows = [_row(trial, space) for trial in trials]
    head = ["trial", "source", "state", "epochs", "seconds", "hours", "retries", "reason"]
    metrics = [key for row in rows for key in row if key.startswith("val_")]
    columns = list(dict.fromkeys([*head, *metrics, *space.parameters]))
    return pd.DataFrame(rows, columns=columns).set_index("trial")


def curves_table(trials: Sequence[TrialRecord]) -> pd.DataFrame:
    """One row per report: trial, epoch and all metrics."""
    rows = [{"trial": trial.number, **report} for trial in trials for report in trial.reports]
    frame = pd.DataFrame(rows, columns=None if rows else ["trial", "epoch"])
    return frame.astype({"trial": int, "epoch": int})


def incumbent_curve(trials: Sequence[TrialRecord], space: SearchSpace) -> pd.DataFrame:
    """The best value of the objective at the highest fidelity so far, against epochs spent.

    One row per improvement, by trial number: ``epochs_spent``, ``trial``, ``value``.
    """
    metric, sign = space.objective.metric, 1 if space.objective.mode == "min" else -1
    rows: list[dict[str, Any]] = []
    spent, best = 0, float("inf")
    for trial in trials:
        spent += trial.epochs
        if trial.state == "finished" and sign * trial.last[metric] < best:
            best = sign * trial.last[metric]
            rows.append({"epochs_spent": spent, "trial": trial.number, "value": sign * best})
    return pd.DataFrame(rows, columns=["epochs_spent", "trial", "value"])


def survival_table(trials: Sequence[TrialRecord], space: SearchSpace) -> pd.DataFrame:
    """Per rung, in epochs: how many trials reached it, were stopped there, and went on."""
    rows = []
    for rung in space.rungs():
        reached = [trial for trial in trials if trial.epochs >= rung]
        stopped = sum(t.state == "stopped" and t.rung_stopped_at == rung for t in reached)
        failed = sum(t.state == "failed" and t.epochs == rung for t in reached)
        rows.append({"rung": rung, "reached": len(reached), "stopped": stopped, "failed": failed})
    return pd.DataFrame(rows, columns=["rung", "reached", "stopped", "failed"]).set_index("rung")


def _row(trial: TrialRecord, space: SearchSpace) -> dict[str, Any]:
    metrics = {key: value for key, value in trial.last.items() if key.startswith("val_")}
    return {
        "trial": trial.number,
        "source": trial.source,
        "state": trial.standing,
        "epochs": trial.epochs,
        "seconds": trial.seconds,
        "hours": trial.cost_hours,
        "retries": trial.retries,
        "reason": trial.reason,
        **metrics,
        **space.values(trial.params),
    }
