"""An experiment that ran or is running: its result, and its trials as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tuning.ledger import folders
from tuning.ledger.driver_lock import driver_of
from tuning.ledger.events import Closed
from tuning.ledger.ledger import Ledger
from tuning.ledger.records import ExperimentInfo, TrialRecord
from tuning.results.outcome import ExperimentResult, experiment_result
from tuning.spaces import defaults
from tuning.spaces.space import SearchSpace

if TYPE_CHECKING:
    import pandas as pd


def read_result(experiment: str, storage: str = defaults.STORAGE) -> ExperimentResult:
    """An experiment as its ledger has it, without touching it; ``last`` is the one that ran last.

    Raises :class:`ConfigError` if there is none.
    """
    directory = folders.find(folders.storage_folder(storage, write=False), experiment)
    space = folders.read_experiment(directory)
    ledger = Ledger(directory, devices=space.resources.devices)
    last = ledger.closed or Closed()
    study = ledger.opened.facts.get("study") if ledger.opened else None  # a database; else a file
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
        protected=ledger.protected or not ledger.count,
        simulated=ledger.simulated,
        study=study or str(directory / folders.STUDY_FILE),
    )
    result = experiment_result(
        info,
        ledger,
        budget_spent=last.complete,
        interrupted=last.interrupted,
        error=last.error,
    )
    driver = driver_of(directory)
    return replace(result, driver=str(driver)) if driver else result


def trials_table(trials: Sequence[TrialRecord], space: SearchSpace) -> pd.DataFrame:
    """One row per trial: source, state, epochs, last metrics, cost, and every parameter's value.

    A parameter that is not active in a trial is missing there; ``waiting`` is a trial at a rung.
    Reference runs may be among ``trials``: of the parameters they have those of the baseline.
    """
    import pandas as pd  # which is slow, and no other command needs it

    references = {trial.number for trial in trials if trial.role == "reference"}
    rows = [
        _row(trial, _baseline(trial, space))
        if trial.number in references or trial.confirms in references
        else _row(trial, space.values(trial.params))
        for trial in trials
    ]
    head = ["trial", "source", "state", "epochs", "seconds", "hours", "retries", "reason"]
    metrics = [key for row in rows for key in row if key.startswith("val_")]
    columns = list(dict.fromkeys([*head, *metrics, *space.parameters]))
    return pd.DataFrame(rows, columns=columns).set_index("trial")


def survival(trials: Sequence[TrialRecord], space: SearchSpace) -> list[dict[str, int]]:
    """Per rung, in epochs: how many trials reached it, were stopped there, and failed there."""
    rows = []
    for rung in space.rungs():
        reached = [trial for trial in trials if trial.epochs >= rung]
        stopped = sum(t.state == "stopped" and t.rung_stopped_at == rung for t in reached)
        failed = sum(t.state == "failed" and t.epochs == rung for t in reached)
        rows.append({"rung": rung, "reached": len(reached), "stopped": stopped, "failed": failed})
    return rows


def _baseline(trial: TrialRecord, space: SearchSpace) -> dict[str, Any]:
    """The parameters of a run of the baseline; its config says more than the space searches."""
    return {path: value for path, value in trial.params.items() if path in space.parameters}


def _row(trial: TrialRecord, values: Mapping[str, Any]) -> dict[str, Any]:
    metrics = {key: value for key, value in trial.last.items() if key.startswith("val_")}
    return {
        "trial": trial.number,
        "source": trial.source,
        "state": trial.status,
        "epochs": trial.epochs,
        "seconds": trial.seconds,
        "hours": trial.cost_hours,
        "retries": trial.retries,
        "reason": trial.reason,
        **metrics,
        **values,
    }
