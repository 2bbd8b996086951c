"""The copy of the trials that people look at with Optuna's tools, kept up beside the search."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator

from optuna.storages import BaseStorage

from tuning.ledger import Ledger, read_events
from tuning.records import TrialRecord
from tuning.study.follower import Follower, Target
from tuning.study.outcomes import Outcomes
from tuning.study.storage import StudyPlace, reason_of
from tuning.study.writer import StudyWriter
from tuning.terminal.notices import Notices


class StudyCopy(Target):
    """The study in ``place``. ``name`` is its, ``owner`` tells experiments of one name apart."""

    behind = "the next --resume brings it up"

    def __init__(self, name: str, owner: str, outcomes: Outcomes, place: StudyPlace) -> None:
        self.name, self.owner, self.outcomes, self.place = name, owner, outcomes, place
        self.label = f"the study in {place.shown}"
        self._storage: BaseStorage | None = None
        self._writer: StudyWriter | None = None

    def write(self, changed: Collection[TrialRecord], known: Collection[TrialRecord]) -> None:
        """See :class:`Target`. A storage is reconciled when it is opened."""
        if self._writer is None:
            self._storage = self.place.open()
            writer = StudyWriter(self.name, self.owner, self.outcomes, self._storage)
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
    ledger: Ledger, outcomes: Outcomes, place: StudyPlace, notices: Notices
) -> Iterator[Follower]:
    """A copy that follows the ledger of an experiment while the context lasts."""
    born = next(read_events(ledger.path.parent), {}).get("time", 0.0)
    name, owner = outcomes.study_name(ledger.experiment), f"{ledger.experiment} {born}"
    follower = Follower(StudyCopy(name, owner, outcomes, place), notices.tell)

    def note(record: TrialRecord) -> None:
        if record.of is None:  # a finalist's run on another seed is no trial of the study
            follower.note(record)

    ledger.listeners.append(note)
    follower.start(ledger.records())
    try:
        yield follower
    finally:
        ledger.listeners.remove(note)
        follower.close()
