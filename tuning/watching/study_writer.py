"""An open Optuna study that is brought up to the records of an experiment, each fact once."""

from __future__ import annotations

import warnings
from collections.abc import Collection

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from hpcm.schema import ConfigError
from tuning.ledger.records import TrialRecord
from tuning.search.optuna_encoder import NUMBER, OptunaEncoder

OWNER = "experiment"  # the study's user attribute: whose it is


class StudyWriter:
    """Writes one study. After an error open another one, which adopts what is in the storage."""

    def __init__(self, name: str, owner: str, encoder: OptunaEncoder, storage: BaseStorage) -> None:
        """``owner`` distinguishes experiments of one name that share a database.

        Raises :class:`ConfigError` if the study of this name is another experiment's.
        """
        self.encoder, self.storage = encoder, storage
        study = optuna.create_study(
            study_name=name, storage=storage, directions=encoder.directions, load_if_exists=True
        )
        found = study.user_attrs.get(OWNER, None if study.get_trials(deepcopy=False) else owner)
        if found != owner:
            raise ConfigError(f"the study {name} there belongs to another experiment")
        if OWNER not in study.user_attrs:
            study.set_user_attr(OWNER, owner)
        if study.metric_names != encoder.names:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                study.set_metric_names(encoder.names)
        self._study_id = study._study_id
        self._ids: dict[int, int] = {}  # our number to the storage's trial id
        self._reported: dict[int, int] = {}  # last epoch written
        self._ended: dict[int, TrialState] = {}  # outcome written

    def reconcile(self, records: Collection[TrialRecord]) -> None:
        """Adopt what is there, mark as FAIL what the records do not know, and sync all."""
        numbers = {record.number for record in records}
        for frozen in self.storage.get_all_trials(self._study_id, deepcopy=False):
            number = frozen.user_attrs.get(NUMBER)
            if number in numbers:
                self._adopt(number, frozen)
            elif not frozen.state.is_finished():
                self.storage.set_trial_state_values(frozen._trial_id, TrialState.FAIL)
        for record in records:
            self.sync(record, records)

    def sync(self, record: TrialRecord, records: Collection[TrialRecord]) -> None:
        """Write the trial, its new reports and its outcome; may be repeated.

        A trial that had ended and goes on (its experiment was prolonged, it was promoted after all)
        gets a new entry; an ended one of Optuna's cannot be changed.
        """
        number = record.number
        frozen = self._frozen(record, records)
        last = max(frozen.intermediate_values, default=0)
        if number in self._ended:
            if self._ended[number] == frozen.state and self._reported[number] >= last:
                return
            self._forget(number)
        if number not in self._ids:
            self._ids[number] = self.storage.create_new_trial(self._study_id, frozen)
            self._reported[number] = last
        else:
            self._bring_up(self._ids[number], number, frozen)
        if frozen.state.is_finished():
            self._ended[number] = frozen.state

    def _bring_up(self, trial_id: int, number: int, frozen: FrozenTrial) -> None:
        for epoch, value in frozen.intermediate_values.items():
            if epoch > self._reported[number]:
                self.storage.set_trial_intermediate_value(trial_id, epoch, value)
                self._reported[number] = epoch
        if frozen.state.is_finished():
            for key, value in frozen.user_attrs.items():
                if key != NUMBER:
                    self.storage.set_trial_user_attr(trial_id, key, value)
            for key, value in frozen.system_attrs.items():
                self.storage.set_trial_system_attr(trial_id, key, value)
            self.storage.set_trial_state_values(trial_id, frozen.state, frozen.values)

    def _frozen(self, record: TrialRecord, records: Collection[TrialRecord]) -> FrozenTrial:
        """The record as Optuna's trial; one that waits at a rung is shown as running."""
        worst = self.encoder.worst(list(records)) if record.diverged else None
        frozen = self.encoder.frozen(record, worst)
        if not record.ended:
            frozen.state, frozen.values, frozen.datetime_complete = TrialState.RUNNING, None, None
        return frozen

    def _adopt(self, number: int, frozen: FrozenTrial) -> None:
        """Adopt an entry of the storage; of several entries of a trial the last counts."""
        self._forget(number)
        self._ids[number] = frozen._trial_id
        self._reported[number] = max(frozen.intermediate_values, default=0)
        if frozen.state.is_finished():
            self._ended[number] = frozen.state

    def _forget(self, number: int) -> None:
        for known in (self._ids, self._reported, self._ended):
            known.pop(number, None)
