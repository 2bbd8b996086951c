"""Trials as an Optuna study: the evidence that a sampler sees, and the copy that people look at.

Two studies, both made from the ledger's records. The *evidence* is built anew for each proposal, in
memory, so that a proposal depends on the records alone, not on how often the driver was restarted
(0.1 s at 1,000 trials). The *copy* is kept in ``study.journal`` for ``optuna-dashboard FILE`` and
for Optuna's own analyses.

The copy is a journal file and not SQLite: an ask, ten reports and an outcome take 0.06 to 0.11 s
instead of 0.55 s (Optuna 5.0, TPE, 100 to 5,000 trials), readers on a shared filesystem are what
the format is made for, and optuna-dashboard opens it by its path alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState, create_trial

from tuning.coordinates import Coordinate
from tuning.ledger import cut_torn_line
from tuning.records import TrialRecord
from tuning.space import SearchSpace

STUDY_FILE = "study.journal"
NUMBER = "trial"  # user attribute: our number of the trial

optuna.logging.set_verbosity(optuna.logging.WARNING)


def distribution(coordinate: Coordinate) -> BaseDistribution:
    """Optuna's word for a coordinate."""
    match coordinate.type:
        case "float":
            return FloatDistribution(coordinate.low, coordinate.high, log=coordinate.log)
        case "int":
            return IntDistribution(coordinate.low, coordinate.high, log=coordinate.log)
        case "categorical":
            return CategoricalDistribution(coordinate.choices)


class Outcomes:
    """How a record is told: the state, the value and the whole curve, in the objective's own sign.

    finished: COMPLETE. stopped: PRUNED. failed: FAIL, but a diverged trial under ``on_diverged:
    worst`` is COMPLETE with the worst finite number that any trial reported, so that the sampler
    learns to keep away. One that waits at a rung counts as PRUNED until it goes on. Everything
    else: RUNNING.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.metric, self.mode = space.objective.metric, space.objective.mode
        self.worst_if_diverged = space.objective.on_diverged == "worst"
        self.distributions = {c.path: distribution(c) for c in space.coordinates()}

    def worst(self, records: Sequence[TrialRecord]) -> float | None:
        """The worst finite number reported so far; None before there is one."""
        values = [v for r in records for v in self.curve(r).values()]
        if not values:
            return None
        return max(values) if self.mode == "min" else min(values)

    def curve(self, record: TrialRecord) -> dict[int, float]:
        """The finite part of the record's learning curve."""
        inf = float("inf")
        return {e: v for e, v in record.curve(self.metric).items() if -inf < v < inf}

    def state(self, record: TrialRecord, worst: float | None) -> tuple[TrialState, float | None]:
        """Optuna's state and value of a record."""
        curve = self.curve(record)
        last = curve[max(curve)] if curve else None
        match record.state:
            case "finished":
                return TrialState.COMPLETE, last
            case "stopped":
                return TrialState.PRUNED, last
            case "failed":
                if record.diverged and self.worst_if_diverged and worst is not None:
                    return TrialState.COMPLETE, worst
                return TrialState.FAIL, None
            case "pending" | "running":
                return (TrialState.PRUNED, last) if record.paused else (TrialState.RUNNING, None)

    def frozen(self, record: TrialRecord, worst: float | None) -> FrozenTrial:
        """The record as Optuna's trial."""
        state, value = self.state(record, worst)
        return create_trial(
            state=state,
            value=value,
            params=dict(record.params),
            distributions={path: self.distributions[path] for path in record.params},
            intermediate_values=self.curve(record),
            user_attrs={NUMBER: record.number}
            | ({"reason": record.reason} if record.reason else {}),
        )


def evidence(
    outcomes: Outcomes, records: Sequence[TrialRecord], sampler: optuna.samplers.BaseSampler
) -> optuna.Study:
    """A study in memory that holds the records as they stand, for one proposal of ``sampler``."""
    direction = "minimize" if outcomes.mode == "min" else "maximize"
    study = optuna.create_study(sampler=sampler, direction=direction)
    worst = outcomes.worst(records)
    study.add_trials([outcomes.frozen(record, worst) for record in records])
    return study


class StudyCopy:
    """The study on disk. :meth:`sync` brings one trial up to its record and may be repeated."""

    def __init__(self, name: str, outcomes: Outcomes, storage: BaseStorage) -> None:
        self.outcomes, self.storage = outcomes, storage
        direction = "minimize" if outcomes.mode == "min" else "maximize"
        study = optuna.create_study(
            study_name=name, storage=storage, direction=direction, load_if_exists=True
        )
        self._study_id = study._study_id
        self._ids: dict[int, int] = {}  # our number to the storage's trial id
        self._reported: dict[int, int] = {}  # last epoch told
        self._told: set[int] = set()

    def reconcile(self, records: Mapping[int, TrialRecord]) -> None:
        """After a restart: adopt what is there, tell FAIL for what the ledger does not know."""
        for frozen in self.storage.get_all_trials(self._study_id, deepcopy=False):
            number = frozen.user_attrs.get(NUMBER)
            record = records.get(number) if number is not None else None
            if record is None:
                if not frozen.state.is_finished():
                    self.storage.set_trial_state_values(frozen._trial_id, TrialState.FAIL)
            else:
                self._ids[record.number] = frozen._trial_id
                self._reported[record.number] = max(frozen.intermediate_values, default=0)
                if frozen.state.is_finished():
                    self._told.add(record.number)
        for record in records.values():
            self.sync(record, list(records.values()))

    def sync(self, record: TrialRecord, records: Sequence[TrialRecord]) -> None:
        """Add the trial, tell its new reports, and tell its outcome, each once.

        A trial that had ended and goes on (its experiment was prolonged, it was promoted after all)
        gets a new entry; an ended one of Optuna's cannot be changed.
        """
        number = record.number
        if number in self._told:
            if record.ended:
                return
            self._told.remove(number)
            del self._ids[number]
            self._reported.pop(number, None)
        if number not in self._ids:
            fresh = TrialRecord(id=record.id, number=number, params=record.params)
            template = self.outcomes.frozen(fresh, None)
            self._ids[number] = self.storage.create_new_trial(self._study_id, template)
        trial_id, told = self._ids[number], self._reported.get(number, 0)
        for epoch, value in self.outcomes.curve(record).items():
            if epoch > told:
                self.storage.set_trial_intermediate_value(trial_id, epoch, value)
                self._reported[number] = epoch
        if record.ended:
            if record.reason:
                self.storage.set_trial_user_attr(trial_id, "reason", record.reason)
            worst = self.outcomes.worst(records)
            state, final = self.outcomes.state(record, worst)
            values = None if final is None else [final]
            self.storage.set_trial_state_values(trial_id, state, values)
            self._told.add(number)


def journal(directory: Path) -> BaseStorage:
    """The embedded storage of an experiment, opened by its one driver.

    A copy that cannot be read (a disk was full, a machine lost its power) is put aside and made
    anew from the ledger. For a lock that a killed driver left, Optuna would wait half a minute.
    """
    path = directory / STUDY_FILE
    path.with_name(f"{STUDY_FILE}.lock").unlink(missing_ok=True)
    path.touch()
    cut_torn_line(path)
    try:
        for line in path.read_bytes().splitlines():  # Optuna forgives the last one, then breaks off
            json.loads(line)
        return JournalStorage(JournalFileBackend(str(path)))
    except (AssertionError, KeyError, TypeError, ValueError):
        path.replace(path.with_name(f"{STUDY_FILE}.damaged"))
        return JournalStorage(JournalFileBackend(str(path)))
