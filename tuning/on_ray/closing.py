"""How an experiment ends early: a signal, the end of its hours, or trials that all fail."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from ray import tune
from ray.tune.stopper import NoopStopper

from tuning.on_ray.trial_keys import STOP_FILE
from tuning.search.search import Reason, Search

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Closing(tune.Stopper):
    """Asked once: nothing new starts, running trials save after their epoch. Asked twice: stop now.

    The trials see a file in the experiment's directory. A third signal is Python's own. The search
    is given by :meth:`attach`, once the ledger is open; a signal may come before.
    """

    def __init__(
        self,
        directory: Path,
        seconds_left: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``seconds_left``: of the budget's hours; None: there is no end."""
        self.at_once = False
        for old in directory.glob(f"{STOP_FILE}*"):  # of a driver that was killed
            old.unlink(missing_ok=True)
        self.stop_file = f"{STOP_FILE}-{secrets.token_hex(4)}"
        self._file = directory / self.stop_file
        self._search: Search | None = None
        self._early: Reason | None = None  # asked for before there was a search
        self._clock = clock
        self._deadline = None if seconds_left is None else clock() + seconds_left
        self._arrivals: int | None = None  # a pipe in which the signals' numbers arrive
        self._arrived = False

    def __call__(self, trial_id: str, result: Any) -> bool:
        """Never: trials are stopped by the scheduler."""
        return False

    def attach(self, search: Search) -> None:
        """The search to close."""
        self._search = search
        if self._early is not None:
            search.close(self._early)

    @property
    def reason(self) -> Reason | None:
        """Why the search closes; None: it does not."""
        return self._early if self._search is None else self._search.closing

    @property
    def interrupted(self) -> bool:
        """Whether it was a signal."""
        return self.reason == "signal"

    def signalled(self) -> bool:
        """Whether a signal arrived, even if the main thread is held in Ray and has not heard it.

        For other threads: Python runs handlers only in the main thread, between its own steps.
        """
        with contextlib.suppress(OSError):  # nothing new, or not listening any more
            arrived = os.read(self._arrivals, 64) if self._arrivals is not None else b""
            self._arrived = self._arrived or any(number in SIGNALS for number in arrived)
        return self._arrived or self.interrupted

    def asked(self) -> bool:
        """Whether nothing more is to be started; the trials are asked to save and end."""
        if self._search is None:
            return self._early is not None
        late = self._deadline is not None and self._clock() > self._deadline
        if late and not self._search.is_closing():
            self._search.close("hours")
        if self._search.is_closing() and not self._file.exists():
            self._file.touch()
        return self._search.is_closing()

    def ask(self, reason: Reason) -> None:
        """Close."""
        if self._search is None:
            self._early = reason
        else:
            self._search.close(reason)
        self._file.touch()

    def stop_all(self) -> bool:
        """Whether Ray is to end the experiment now: no trial runs that could still save."""
        if not self.asked() or self._search is None:
            return False
        trials = self._search.ledger.trials.values()
        return self.at_once or all(trial.state != "running" for trial in trials)

    def __reduce__(self) -> Any:
        """Ray's snapshot of the experiment, which we never read, gets none of this."""
        return NoopStopper, ()

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        """Take the signals to mean this, if the main thread runs the experiment.

        A signal that our parent ignores stays ignored: SIGINT below `tune.py &` in a script, SIGHUP
        below `nohup`.
        """
        before: dict[int, Any] = {}

        def handle(number: int, frame: FrameType | None) -> None:
            if self.at_once:
                raise KeyboardInterrupt
            self.at_once = self.reason == "signal"
            self.ask("signal")

        self._arrivals, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        wakes: int | None = None
        with contextlib.suppress(ValueError):  # not the main thread: the caller has the signals
            wakes = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
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
            os.close(write_end)
            for caught, handler in before.items():
                signal.signal(caught, handler)
            self._file.unlink(missing_ok=True)
