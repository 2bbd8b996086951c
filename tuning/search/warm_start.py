"""`searcher.warm_start`: trials of earlier experiments, or of files, that the searcher learns from.

They are read once, from the ledgers under the same storage or from the CSV or JSON files that are
named (:mod:`tuning.search.results_file`), and kept in ``warm_start.json`` of the
experiment: a resume proposes what it would have proposed, whatever has become of the earlier
experiments. They are evidence only, never trials of this experiment. A trial is used if its
config lies in this space and has a result; what it reported beyond this space's maximum fidelity is
left out, and one that ended before it counts as stopped there.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from hpcm.atomic_files import write_atomically
from hpcm.files import read_json
from hpcm.schema import ConfigError, shown
from tuning.ledger import folders
from tuning.ledger.ledger import Ledger
from tuning.ledger.records import TrialRecord
from tuning.search.optuna_encoder import OptunaEncoder
from tuning.search.results_file import is_results_file, read_results_file
from tuning.spaces.sections import DELTA_RATE, Metric
from tuning.spaces.space import SearchSpace

WARM_START_FILE = "warm_start.json"
OF_AVERAGE = tuple(metric.replace("val_", "val_ema_", 1) for metric in get_args(Metric))
KEPT = ("epoch", DELTA_RATE, *get_args(Metric), *OF_AVERAGE)  # of a report
#: What must be the same, as the end of the schedules must.
SAME = ("base", *(f"objective.{key}" for key in ("metric", "mode", "weights", "reference")))


@dataclass(frozen=True)
class Earlier:
    """What one earlier experiment gives to the searcher."""

    experiment: str
    trials: tuple[TrialRecord, ...]
    left_out: dict[str, int] = field(default_factory=dict)  # number of trials by reason

    def __str__(self) -> str:
        total = len(self.trials) + sum(self.left_out.values())
        text = f"{len(self.trials)} of {total} trials of {self.experiment}"
        without = ", ".join(f"{count} {reason}" for reason, count in self.left_out.items())
        return text + (f"; left out: {without}" if without else "")


def gather(space: SearchSpace, folder: Path, directory: Path) -> list[Earlier]:
    """The experiments that the space names: as frozen in ``directory``, else from ``folder``.

    Raises :class:`ConfigError` if there is none of the name, or if its numbers mean something else.
    """
    if directory.name in names_in(space):
        raise ConfigError(f"searcher.warm_start: {directory.name}: is this experiment itself")
    frozen = _read(directory)
    found = [
        frozen[name] if name in frozen else _read_named(space, folder, name)
        for name in names_in(space)
    ]
    count = sum(len(earlier.trials) for earlier in found)
    name, most = space.searcher.name, space.searcher.most_trials
    if most is not None and count + space.budget.trials > most:
        raise ConfigError(
            f"searcher.warm_start: {count} trials, and budget.trials is {space.budget.trials};"
            f" {name} takes {most} in all"
        )
    return found


def freeze(directory: Path, earlier: Sequence[Earlier]) -> None:
    """Keep them with the experiment, if it has any."""
    if not earlier:
        return
    plain = {
        one.experiment: {
            "left_out": one.left_out,
            "trials": [
                {key: getattr(trial, key) for key in ("number", *_STATE, "reports")}
                for trial in one.trials
            ],
        }
        for one in earlier
    }
    write_atomically(directory / WARM_START_FILE, json.dumps(plain).encode())


def evidence_in(directory: Path, space: SearchSpace) -> list[TrialRecord]:
    """The frozen trials of the experiments that the space names."""
    frozen = _read(directory)
    return [trial for name in names_in(space) for trial in frozen[name].trials]


def names_in(space: SearchSpace) -> tuple[str, ...]:
    """The experiments that the space names."""
    return space.searcher.warm_start


_STATE = ("params", "state", "diverged")


def _read_named(space: SearchSpace, folder: Path, name: str) -> Earlier:
    """The trials of an experiment, or of a file."""
    if not is_results_file(name):
        return _read_earlier(space, folder, name)
    try:
        trials = read_results_file(name, space, KEPT[1:])
    except ConfigError as error:
        lines = str(error).splitlines()
        raise ConfigError("\n".join(f"searcher.warm_start: {line}" for line in lines)) from None
    encoder = OptunaEncoder(space)
    known = tuple(trial for trial in trials if encoder.has_result(trial))
    without = len(trials) - len(known)
    return Earlier(name, known, {"without a result": without} if without else {})


def _read_earlier(space: SearchSpace, folder: Path, name: str) -> Earlier:
    directory = folders.named(folder, name, "searcher.warm_start")
    old = folders.read_experiment(directory)
    _refuse_others(old, space, name)
    trials, left_out = [], Counter[str]()
    encoder = OptunaEncoder(space)
    ledger = Ledger(directory)
    folders.refuse_simulated(ledger, "searcher.warm_start:")
    for record in ledger.records():
        trial = _as_evidence(record, space.fidelity.max)
        if not encoder.has_result(trial):
            left_out["without a result"] += 1
        elif record.exploits:
            left_out["whose config changed on the way"] += 1
        elif not _fits(record.params, old, space):
            left_out["outside this space"] += 1
        else:
            trials.append(trial)
    return Earlier(name, tuple(trials), dict(left_out))


def _refuse_others(old: SearchSpace, new: SearchSpace, name: str) -> None:
    """Raise :class:`ConfigError` if numbers of trials mean something else; the rule of a resume."""
    differing = [
        str(change)
        for change in old.diff(new)
        if change.breaks
        and any(change.path == key or change.path.startswith(f"{key}.") for key in SAME)
    ]
    if old.fidelity.horizon != new.fidelity.horizon:
        differing.append(
            f"fidelity.schedule_horizon: {old.fidelity.horizon} -> {new.fidelity.horizon}"
        )
    if differing:
        listed = "\n  ".join(differing)
        raise ConfigError(
            f"searcher.warm_start: {name}: its trials would not compare with this space's:\n"
            f"  {listed}"
        )


def _fits(params: dict[str, Any], old: SearchSpace, new: SearchSpace) -> bool:
    """Whether the flat config is one of the new space, and means the same run there."""
    try:
        return new.active(params) == params and new.values(params) == old.values(params)
    except ConfigError:
        return False


def _as_evidence(record: TrialRecord, most: int) -> TrialRecord:
    """The part of the trial that counts if the maximum fidelity is ``most`` epochs."""
    reports = [
        {key: report[key] for key in KEPT if key in report}
        for report in record.reports
        if report["epoch"] <= most
    ]
    whole = bool(reports) and reports[-1]["epoch"] >= most
    return TrialRecord(
        id=record.id,
        number=record.number,
        params=record.params,
        state="failed" if record.state == "failed" else "finished" if whole else "stopped",
        diverged=record.diverged,
        reports=reports,
    )


def _read(directory: Path) -> dict[str, Earlier]:
    path = directory / WARM_START_FILE
    if not os.path.lexists(path):
        return {}
    try:
        plain = read_json(path, "what a search writes", infinite=True)
        return {
            name: Earlier(
                name,
                tuple(TrialRecord(f"{name}-{one['number']:04d}", **one) for one in kept["trials"]),
                kept["left_out"],
            )
            for name, kept in plain.items()
        }
    except (AttributeError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: damaged: {shown(str(error))}") from None
