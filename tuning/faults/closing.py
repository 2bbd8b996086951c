"""How an experiment ends early: a signal, the end of its hours, or trials that all fail."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from ray import tune
from ray.tune.stopper import NoopStopper

from tuning.ledger import Ledger
from tuning.trainable import REFUSED, STOP_FILE

Reason = Literal["signal", "hours", "refused", "broken"]
#: Trials that fail one after the other, with no epoch in between and not by their own numbers: then
#: it is not the trials. Without an end a lost data folder would use up the budget within minutes.
IN_A_ROW = 5
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Closing(tune.Stopper):
    """Asked once: nothing new starts, running trials save after their epoch. Asked twice: stop now.

    The trials see a file in the experiment's directory. A third signal is Python's own.
    """

    def __init__(self, directory: Path, ledger: Ledger, hours: float | None) -> None:
        self.reason: Reason | None = None
        self.at_once = False
        for old in directory.glob(f"{STOP_FILE}*"):  # of a driver that was killed
            old.unlink(missing_ok=True)
        self.stop_file = f"{STOP_FILE}-{secrets.token_hex(4)}"
        self._file = directory / self.stop_file
        self._ledger = ledger
        self._deadline = None
        self._arrivals: int | None = None  # a pipe in which the signals' numbers arrive
        self._arrived = False
        if hours is not None:
            self._deadline = time.monotonic() + hours * 3600 - ledger.seconds

    def __call__(self, trial_id: str, result: Any) -> bool:
        """Never: trials are stopped by the scheduler."""
        return False

    @staticmethod
    def to_reopen(ledger: Ledger) -> list[int]:
        """Trials that a resume gives another chance, once: what made them fail may be mended.

        The prior, where it was refused, always: without it there is no search.
        """
        row = ledger.in_a_row if len(ledger.in_a_row) >= IN_A_ROW else ()
        found = [number for number in row if number not in ledger.reopened]
        return sorted({*found, *([0] if refused(ledger) is not None else [])})

    @property
    def interrupted(self) -> bool:
        """Whether it was a signal."""
        return self.reason == "signal"

    def signalled(self) -> bool:
        """Whether a signal arrived, even if the main thread is held in Ray and has not heard it.

        For other threads: Python runs handlers in the main thread alone, between its own steps.
        """
        with contextlib.suppress(OSError):  # nothing new, or not listening any more
            arrived = os.read(self._arrivals, 64) if self._arrivals is not None else b""
            self._arrived = self._arrived or any(number in SIGNALS for number in arrived)
        return self._arrived or self.interrupted

    def asked(self) -> bool:
        """Whether nothing more is to be started."""
        late = self._deadline is not None and time.monotonic() > self._deadline
        if self.reason is None and self.refusal is not None:
            self.ask("refused")
        if self.reason is None and len(self._ledger.in_a_row) >= IN_A_ROW:
            self.ask("broken")
        if self.reason is None and late:
            self.ask("hours")
        return self.reason is not None

    @property
    def refusal(self) -> str | None:
        """Why the prior's config is refused where trials run; then all of them would be."""
        return refused(self._ledger)

    @property
    def problem(self) -> str | None:
        """Why the search breaks off, where it does: what an experiment cannot go on with."""
        if self.reason == "refused":
            return f"the prior was refused: {self.refusal}"
        if self.reason == "broken":
            row = self._ledger.in_a_row
            last = self._ledger.trials[row[-1]].reason
            return f"{len(row)} trials failed one after the other, the last: {last}"
        return None

    def ask(self, reason: Reason) -> None:
        """Close. A signal counts more than what was before it."""
        self.reason = reason if self.reason is None else "signal"
        self._file.touch()

    def stop_all(self) -> bool:
        """Whether Ray is to end the experiment now: no trial runs that could still save."""
        if not self.asked():
            return False
        return self.at_once or all(t.state != "running" for t in self._ledger.trials.values())

    def __reduce__(self) -> Any:
        """Ray's snapshot of the experiment, which we never read, gets none of this."""
        return NoopStopper, ()

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        """Take the signals to mean this, where the main thread runs the experiment.

        One that our parent had ignored stays so: SIGINT below `tune.py &` in a script, SIGHUP below
        `nohup`.
        """
        before: dict[int, Any] = {}

        def handle(number: int, frame: FrameType | None) -> None:
            if self.at_once:
                raise KeyboardInterrupt
            self.at_once = self.reason == "signal"
            self.ask("signal")

        self._arrivals, told = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        wakes: int | None = None
        with contextlib.suppress(ValueError):  # not the main thread: the caller has the signals
            wakes = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    before[number] = signal.signal(number, handle)
        try:
            yield
        finally:
            if wakes is not None:
                signal.set_wakeup_fd(wakes)
            arrivals, self._arrivals = self._arrivals, None
            os.close(arrivals)
            os.close(told)
            for wanted, handler in before.items():
                signal.signal(wanted, handler)
            self._file.unlink(missing_ok=True)


def refused(ledger: Ledger) -> str | None:
    """Why the prior failed, where its config or its data were refused."""
    prior = ledger.trials.get(0)
    reason = (prior.reason or "") if prior is not None and prior.state == "failed" else ""
    return reason.removeprefix(REFUSED) if reason.startswith(REFUSED) else None
