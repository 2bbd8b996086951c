"""The copy of the trials for people who use Optuna's tools, kept up to date during the search."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator

from optuna.storages import BaseStorage

from tuning.ledger.ledger import Ledger, read_events
from tuning.ledger.notices import Notices
from tuning.ledger.records import TrialRecord
from tuning.search.optuna_encoder import OptunaEncoder
from tuning.watching.background_writer import BackgroundWriter, Target
from tuning.watching.study_storage import StudyPlace, reason_of
from tuning.watching.study_writer import StudyWriter


class StudyCopy(Target):
    """The study ``name`` in ``place``; ``owner`` distinguishes experiments of one name."""

    behind = "the next --resume brings it up"

    def __init__(self, name: str, owner: str, encoder: OptunaEncoder, place: StudyPlace) -> None:
        self.name, self.owner, self.encoder, self.place = name, owner, encoder, place
        self.label = f"the study in {place.shown}"
        self._storage: BaseStorage | None = None
        self._writer: StudyWriter | None = None

    def write(self, changed: Collection[TrialRecord], known: Collection[TrialRecord]) -> None:
        """See :class:`Target`. A storage is reconciled when it is opened."""
        if self._writer is None:
            self._storage = self.place.open()
            writer = StudyWriter(self.name, self.owner, self.encoder, self._storage)
            writer.reconcile(known)
            self._writer = writer
            return
        for record in changed:
            self._writer.sync(record, known)

    def release(self) -> None:
        """See :class:`Target`."""
        if self._storage is not None:
            self.place.close(self._storage)
        self._storage = self._writer = None

    def reason(self, error: Exception) -> str:
        """See :class:`Target`."""
        return reason_of(error, self.place.url)


@contextlib.contextmanager
def study_copy(
    ledger: Ledger, encoder: OptunaEncoder, place: StudyPlace, notices: Notices
) -> Iterator[BackgroundWriter]:
    """A copy that follows the ledger of an experiment while the context lasts."""
    first = next(read_events(ledger.path.parent), None)
    born = first.time if first else 0.0
    name, owner = encoder.study_name(ledger.experiment), f"{ledger.experiment} {born}"
    follower = BackgroundWriter(StudyCopy(name, owner, encoder, place), notices.add)

    def note(record: TrialRecord) -> None:
        if record.role == "search":  # a run that confirms, or a reference, is none of the study
            follower.note(record)

    ledger.listeners.append(note)
    follower.start(ledger.records())
    try:
        yield follower
    finally:
        ledger.listeners.remove(note)
        follower.close()
