"""Reference runs of an earlier experiment once more: `objective.reference.experiment`.

Their reports are copied into the new ledger, at no cost; the old one is not needed any more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hpcm.defaults import HARMLESS
from hpcm.schema import ConfigError, leaves
from tuning.ledger import folders
from tuning.ledger.events import Finished, Report
from tuning.ledger.ledger import Ledger
from tuning.ledger.records import TrialRecord
from tuning.spaces.space import SearchSpace

WHERE = "objective.reference.experiment"
Reports = list[dict[str, float]]


def gather_references(
    space: SearchSpace, folder: Path, own: Ledger | None = None, *, simulated: bool = False
) -> dict[float, Reports]:
    """The reports of the reference runs that ``space`` takes from an experiment, by lmbda.

    None if it trains its own, or ``own``, its ledger, has them already. ``folder`` holds all
    experiments. Raises :class:`ConfigError` if that experiment is not there, its runs are others or
    have not finished, or it is a simulation and this is none.
    """
    name, lmbdas = space.objective.reference.experiment, space.reference_lmbdas()
    there = own.reference_runs() if own else []
    if name is None or {run.lmbda for run in there if run.state == "finished"} >= set(lmbdas):
        return {}
    directory = folders.named(folder, name, WHERE)
    ledger = Ledger(directory)
    if not simulated:
        folders.refuse_simulated(ledger, f"{WHERE}:")
    _refuse_others(folders.read_experiment(directory), space, name)
    runs = {run.lmbda: run for run in ledger.reference_runs()}
    for lmbda in lmbdas:
        _refuse_unfinished(runs.get(lmbda), lmbda, space, name)
    free = {"train/seconds": 0.0}
    return {lmbda: [report | free for report in runs[lmbda].reports] for lmbda in lmbdas}


def copy_reports(ledger: Ledger, references: Mapping[float, Reports]) -> None:
    """Bring the reference runs of ``ledger`` that are not trained to their end."""
    for run in ledger.reference_runs():
        if run.lmbda is None or run.lmbda not in references or run.state == "finished":
            continue
        for metrics in references[run.lmbda]:
            if metrics["epoch"] > run.epochs:
                ledger.append(Report(run.number, metrics=metrics))
        ledger.append(Finished(run.number))


def _refuse_others(old: SearchSpace, new: SearchSpace, name: str) -> None:
    """Raise :class:`ConfigError` with what differs between the reference runs of two spaces."""
    differences = dict.fromkeys(_differences(old, new))
    if differences:
        listed = "\n  ".join(differences)
        raise ConfigError(
            f"{WHERE}: {name}: its reference runs are others, and would not compare:\n  {listed}\n"
            "put these values there, or leave it out: then the search trains its own"
        )


def _differences(old: SearchSpace, new: SearchSpace) -> Iterator[str]:
    if old.objective.weights != new.objective.weights:
        yield f"objective.weights: {old.objective.weights} -> {new.objective.weights}"
    before, after = old.reference_lmbdas(), new.reference_lmbdas()
    if missing := [lmbda for lmbda in after if lmbda not in before]:
        yield f"objective.reference.lmbdas: {_numbers(before)} -> {_numbers(after)}"
    for lmbda in (lmbda for lmbda in after if lmbda not in missing):
        was, now = _fields(old, lmbda), _fields(new, lmbda)
        for path in dict.fromkeys([*was, *now]):
            if was.get(path) != now.get(path):
                yield f"{path}: {was.get(path)} -> {now.get(path)}"


def _fields(space: SearchSpace, lmbda: float) -> Mapping[str, Any]:
    """What decides the numbers of a reference run."""
    fields = leaves(space.reference_config(lmbda).to_plain())
    return {path: value for path, value in fields.items() if path not in HARMLESS}


def _refuse_unfinished(
    run: TrialRecord | None, lmbda: float, space: SearchSpace, name: str
) -> None:
    """Raise :class:`ConfigError` if a reference run cannot make a curve at each epoch."""
    state = "was not started" if run is None else f"is {run.status}"
    if run is None or run.state != "finished" or run.epochs != space.fidelity.max:
        raise ConfigError(f"{WHERE}: {name}: its reference run at lmbda {lmbda:g} {state}")
    lacking = [metric for metric in space.compared if metric not in run.last]
    if lacking:
        raise ConfigError(f"{WHERE}: {name}: its reference runs have no {' and '.join(lacking)}")


def _numbers(lmbdas: tuple[float, ...]) -> str:
    return ", ".join(f"{lmbda:g}" for lmbda in lmbdas) or "none"
