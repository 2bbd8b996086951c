"""How many checkpoints are kept, and so how much disk an experiment needs.

A trial that runs has two, and a third while it writes. One that waits, was interrupted, finished or
failed has its last: the first two continue from it, an experiment that is given more trials or
hours may continue some of the others. One that lost at a rung for good has none. So there are never
more than ``trials + 2 * trials at a time``, the runs that confirm and the reference runs counted as
trials: 51 for phase3, 4 at a time, which is 41 GB with the 0.8 GB of hpcm_base and Adam. Behind a
URL each trial that runs also needs room for one in the temporary folder of its machine.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, SimpleQueue

from hpcm.schema import ConfigError
from tuning.checkpoints.places import holds
from tuning.checkpoints.store import WHILE_RUNNING, CheckpointStore
from tuning.ledger.folders import read_provenance
from tuning.ledger.ledger import Ledger, read_trials
from tuning.ledger.notices import Notices
from tuning.ledger.records import TrialRecord
from tuning.spaces.confirm_checks import most_runs
from tuning.spaces.draws import total_trials
from tuning.spaces.space import SearchSpace
from tuning.spaces.wording import count_text

RETRY_EVERY = 60.0  # seconds between two attempts at what could not be removed
LONGEST_CLOSE = 20.0  # seconds that the end of a session waits for what is still to be removed

Stores = Callable[[int], CheckpointStore]  # the checkpoints of a trial


def most_checkpoints(space: SearchSpace, at_a_time: int | None = None) -> int:
    """The most checkpoints that can exist; ``at_a_time``: trials that run at the same time."""
    trials = total_trials(space) + most_runs(space) + len(space.reference_lmbdas())
    return trials + WHILE_RUNNING * min(at_a_time or space.budget.concurrent or trials, trials)


def kept(record: TrialRecord, space: SearchSpace) -> int:
    """How many checkpoints a trial needs as it stands."""
    if not (record.ended or record.paused):
        return WHILE_RUNNING
    lost = record.state == "stopped" and record.rung_stopped_at is not None
    return 0 if lost and not space.scheduler.may_promote_stopped else 1


def refuse_lost(directory: Path, space: SearchSpace, place: str | None) -> None:
    """Raise :class:`ConfigError` if ``place`` lacks the checkpoints that an experiment needs.

    Its unfinished trials would all start again. So it is if its folder was renamed or copied.
    """
    if place is None or holds(place, directory.name):
        return
    renamed = read_provenance(directory).get("experiment", directory.name) != directory.name
    first = 1 if renamed else space.rungs()[0]  # where each is saved; in between by the clock
    needed = [r for r in read_trials(directory) if not r.ended and r.epochs >= first]
    if needed:
        raise ConfigError(
            f"--resume {directory.name}: {place} has no folder {directory.name}, where the"
            f" checkpoints of {count_text(len(needed), 'unfinished trial')} would be. Was the"
            " experiment renamed or copied? Give it its old name, or rename the folder there too;"
            " an empty one starts these trials again"
        )


class Retention:
    """Removes what is no longer needed, in a thread of its own: a shared disk may be slow.

    What cannot be removed is tried again every ``RETRY_EVERY`` seconds, and at the next start.
    """

    def __init__(self, space: SearchSpace, stores: Stores, tell: Callable[[str], None]) -> None:
        self._space, self._stores, self._tell = space, stores, tell
        self._queue: SimpleQueue[TrialRecord | None] = SimpleQueue()
        self._behind: dict[int, TrialRecord] = {}  # trials that have too many
        self._thread = threading.Thread(target=self._work, name="retention", daemon=True)

    def start(self) -> None:
        """Begin to remove."""
        self._thread.start()

    def note(self, record: TrialRecord) -> None:
        """Take a trial as it stands now; waits for nothing."""
        if record.ended or record.paused:
            self._queue.put(record)

    def close(self) -> None:
        """Remove what is left, within :data:`LONGEST_CLOSE`; the next start does the rest."""
        self._queue.put(None)
        self._thread.join(LONGEST_CLOSE)

    def _work(self) -> None:
        due = time.monotonic()
        while True:
            try:
                wait = max(0.0, due - time.monotonic()) if self._behind else None
                record = self._queue.get(timeout=wait)
            except Empty:
                for known in list(self._behind.values()):
                    self._tidy(known)
                due = time.monotonic() + RETRY_EVERY
                continue
            if record is None:
                return
            if not self._behind:
                due = time.monotonic() + RETRY_EVERY
            self._tidy(record)

    def _tidy(self, record: TrialRecord) -> None:
        """Remove what the trial does not need now; it may have been promoted since."""
        try:
            self._stores(record.number).keep(kept(record, self._space))
        except Exception as error:  # whatever it is, the search goes on
            if not self._behind:  # once an outage
                self._tell(f"old checkpoints of trial {record.number} are not removed: {error}")
            self._behind[record.number] = record
        else:
            self._behind.pop(record.number, None)


@contextlib.contextmanager
def retention(
    ledger: Ledger, space: SearchSpace, stores: Stores, notices: Notices
) -> Iterator[None]:
    """Follow the ledger of an experiment while the context lasts."""
    keeper = Retention(space, stores, notices.add)
    for record in ledger.trials.values():
        keeper.note(record)
    ledger.listeners.append(keeper.note)
    keeper.start()
    try:
        yield
    finally:
        ledger.listeners.remove(keeper.note)
        keeper.close()
