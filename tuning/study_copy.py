"""The copy of the trials that people look at with Optuna's tools, kept up by a thread of its own.

The ledger is the truth and the search never waits for the copy: the driver leaves the newest state
of a trial and goes on; the thread writes about once a second. Where it cannot (a full disk, a
database that is away) it says so once, tries again after a while from the storage as it then finds
it, and says when it has caught up.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from optuna.storages import BaseStorage

from tuning.ledger import Ledger, read_events
from tuning.notices import Notices
from tuning.records import TrialRecord
from tuning.study import Outcomes
from tuning.study_storage import StudyPlace, reason_of
from tuning.study_writer import StudyWriter

INTERVAL = 1.0  # seconds between writes
LONGEST_PAUSE = 30.0  # seconds between attempts, doubled from INTERVAL
AT_THE_END = 20.0  # seconds that the end of a session waits for the copy


class StudyCopy:
    """Brings the study in ``place`` up to the records that :meth:`note` is given.

    ``name`` is the study's, ``owner`` tells experiments of one name apart.
    """

    def __init__(
        self,
        name: str,
        owner: str,
        outcomes: Outcomes,
        place: StudyPlace,
        tell: Callable[[str], None],
    ) -> None:
        self.name, self.owner, self.outcomes, self.place = name, owner, outcomes, place
        self._tell = tell
        self._noted: dict[int, TrialRecord] = {}  # not yet taken by the thread
        self._known: dict[int, TrialRecord] = {}  # the thread's: every trial as last noted
        self._change = threading.Condition()
        self._settled = False  # whether everything that was noted stands in the storage
        self._failed = False  # whether the last attempt did not succeed
        self._ending = False
        self._storage: BaseStorage | None = None
        self._writer: StudyWriter | None = None
        self._thread = threading.Thread(target=self._keep_up, name="study copy", daemon=True)

    def start(self, records: Iterable[TrialRecord]) -> None:
        """Open the study and reconcile it with the records, then follow."""
        for record in records:
            self.note(record)
        self._thread.start()

    def note(self, record: TrialRecord) -> None:
        """Take a trial as it stands now. Copies the list of its reports, and waits for nothing.

        A finalist's run on another seed is no trial of the study.
        """
        if record.of is not None:
            return
        still = replace(record, reports=list(record.reports))  # reports themselves never change
        with self._change:
            self._noted[record.number] = still
            self._settled = False
            self._change.notify_all()

    def settle(self, seconds: float = AT_THE_END) -> bool:
        """Wait until all that was noted is written or an attempt failed; whether it is written."""
        deadline = time.monotonic() + seconds
        with self._change:
            self._change.wait_for(
                lambda: self._settled or self._failed, deadline - time.monotonic()
            )
            return self._settled

    def close(self) -> None:
        """Write what is left, if that goes within :data:`AT_THE_END`, and end the thread."""
        with self._change:
            self._ending = True
            self._change.notify_all()
        self._thread.join(AT_THE_END)
        with self._change:
            behind = not self._settled
        if behind:
            self._tell(
                f"the study in {self.place.shown} is behind the ledger; the next --resume brings it"
                " up"
            )

    def _keep_up(self) -> None:
        pause = INTERVAL
        while True:
            with self._change:
                self._change.wait_for(lambda: not self._settled or self._ending)
                last = self._ending
                batch, self._noted = self._noted, {}
            self._known |= batch
            try:
                self._write(batch.values())
            except Exception as error:  # whatever it is, the search goes on
                self._give_back(error)
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                self._caught_up()
                pause = INTERVAL
            with self._change:
                if last or self._change.wait_for(lambda: self._ending, pause) and self._settled:
                    break
        self._release()

    def _write(self, batch: Iterable[TrialRecord]) -> None:
        known = self._known.values()
        if self._writer is None:
            self._storage = self.place.open()
            writer = StudyWriter(self.name, self.owner, self.outcomes, self._storage)
            writer.reconcile(known)
            self._writer = writer
            return
        for record in batch:
            self._writer.sync(record, known)

    def _caught_up(self) -> None:
        with self._change:
            was_behind, self._failed = self._failed, False
            self._settled = not self._noted
            self._change.notify_all()
        if was_behind:
            self._tell(f"the study in {self.place.shown} is up to date again")

    def _give_back(self, error: Exception) -> None:
        """Close the storage, which may be broken or half written; say so the first time."""
        self._release()
        with self._change:
            first, self._failed = not self._failed, True
            self._change.notify_all()
        if first:
            why = reason_of(error, self.place.url)
            self._tell(
                f"the study in {self.place.shown} cannot be written: {why}; the search goes on, the"
                " study follows when it can"
            )

    def _release(self) -> None:
        if self._storage is not None:
            self.place.close(self._storage)
        self._storage = self._writer = None


@contextlib.contextmanager
def study_copy(
    ledger: Ledger, outcomes: Outcomes, place: StudyPlace, notices: Notices
) -> Iterator[StudyCopy]:
    """A copy that follows the ledger of an experiment while the context lasts."""
    born = next(read_events(ledger.path.parent), {}).get("time", 0.0)
    owner = f"{ledger.experiment} {born}"
    copy = StudyCopy(outcomes.study_name(ledger.experiment), owner, outcomes, place, notices.tell)
    ledger.listeners.append(copy.note)
    copy.start(ledger.records())
    try:
        yield copy
    finally:
        ledger.listeners.remove(copy.note)
        copy.close()
