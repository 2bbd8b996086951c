"""A thread that keeps something outside up to date with the records; the search does not wait.

The ledger is the truth. The driver leaves the newest state of a trial and goes on; the thread
writes about once a second. If it cannot (a full disk, a database or a service that is away) it
says so once, tries again after a while from what it then finds there, and says when it has caught
up.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

from tuning.ledger.records import TrialRecord


class Target(ABC):
    """What is kept up to date; only the thread uses it."""

    label: str  # what it is called in messages
    behind: str  # what becomes of it if the session ends first

    interval = 1.0  # seconds between writes
    longest_pause = 30.0  # seconds between attempts, doubled from the interval
    at_the_end = 20.0  # seconds that the end of a session waits
    last_attempt = True  # whether the end tries once more if the attempt before failed

    @abstractmethod
    def write(self, changed: Collection[TrialRecord], known: Collection[TrialRecord]) -> None:
        """Write the trials that changed since the last call; after a failure, whatever is missing.

        Raises what goes wrong; :meth:`release` follows.
        """

    @abstractmethod
    def release(self) -> None:
        """Give back what is held: at the end, and after a failure. Raises nothing."""

    def reason(self, error: Exception) -> str:
        """What a person has to know of a failure, in one line."""
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return lines[0][:300] if lines else type(error).__name__


class BackgroundWriter:
    """Follows trials that :meth:`note` is given; ``tell`` hears of trouble, in the thread."""

    def __init__(self, target: Target, tell: Callable[[str], None]) -> None:
        self.target = target
        self._tell = tell
        self._noted: dict[int, TrialRecord] = {}  # not yet taken by the thread
        self._known: dict[int, TrialRecord] = {}  # the thread's: every trial as last noted
        self._change = threading.Condition()
        self._settled = False  # whether everything that was noted is written
        self._failed = False  # whether the last attempt did not succeed
        self._ending = False
        self._thread = threading.Thread(target=self._follow, name=target.label, daemon=True)

    def start(self, records: Iterable[TrialRecord] = ()) -> None:
        """Write the records, then follow."""
        for record in records:
            self.note(record)
        self._thread.start()

    def note(self, record: TrialRecord) -> None:
        """Take a trial as it stands now. Copies the list of its reports, and waits for nothing."""
        still = replace(record, reports=list(record.reports))  # reports themselves never change
        with self._change:
            self._noted[record.number] = still
            self._settled = False
            self._change.notify_all()

    def settle(self, seconds: float | None = None) -> bool:
        """Wait until all that was noted is written or an attempt failed; whether it is written."""
        longest = self.target.at_the_end if seconds is None else seconds
        with self._change:
            self._change.wait_for(lambda: self._settled or self._failed, longest)
            return self._settled

    def close(self) -> None:
        """Write what is left, as far as the target's time allows, and end the thread."""
        deadline = time.monotonic() + self.target.at_the_end
        with self._change:
            self._ending = True
            self._change.notify_all()
        self._thread.join(max(0.0, deadline - time.monotonic()))
        with self._change:
            behind = not self._settled
        if behind:
            self._tell(f"{self.target.label} is behind the ledger; {self.target.behind}")

    @property
    def ended(self) -> bool:
        """Whether the thread is gone."""
        return not self._thread.is_alive()

    def _follow(self) -> None:
        pause = self.target.interval
        while True:
            with self._change:
                self._change.wait_for(lambda: not self._settled or self._ending)
                last = self._ending
                batch, self._noted = self._noted, {}
            self._known |= batch
            try:
                self.target.write(batch.values(), self._known.values())
            except Exception as error:  # whatever it is, the search goes on
                self._give_back(error)
                pause = min(2 * pause, self.target.longest_pause)
            else:
                self._caught_up()
                pause = self.target.interval
            if last or self._ends_within(pause):
                break
        self.target.release()

    def _ends_within(self, pause: float) -> bool:
        """Whether the session ended in this pause, and nothing more is to be tried."""
        with self._change:
            ended = self._change.wait_for(lambda: self._ending, pause)
            given_up = self._failed and not self.target.last_attempt
            return ended and (self._settled or given_up)

    def _caught_up(self) -> None:
        with self._change:
            was_behind, self._failed = self._failed, False
            self._settled = not self._noted
            self._change.notify_all()
        if was_behind:
            self._tell(f"{self.target.label} is up to date again")

    def _give_back(self, error: Exception) -> None:
        """What is held may be broken or half written; say so the first time."""
        self.target.release()
        with self._change:
            first, self._failed = not self._failed, True
            self._change.notify_all()
        if first:
            self._tell(
                f"{self.target.label} cannot be written: {self.target.reason(error)}; the search"
                " goes on, and it follows when it can"
            )
