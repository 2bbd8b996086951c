"""Who hears of a running search: the ledger of each start, a listener of each change."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ray import tune
from ray.tune.experiment import Trial

from tuning.ledger import Ledger
from tuning.records import TrialRecord
from tuning.terminal.notices import Notices
from tuning.trial_keys import NOTICE

OnChange = Callable[[Sequence[TrialRecord]], None]

SHARE = 0.05  # of the driver's time that the listener may take
LONGEST_PAUSE = 0.5  # seconds that a change may wait for the listener; nobody sees the difference


class Follow(tune.Callback):
    """Notes when a trial starts, and tells the listener when something happened.

    The listener is slower the more trials there are. Where changes come faster than it can take
    them in a twentieth of the driver's time, it hears of several at once.
    """

    def __init__(
        self,
        ledger: Ledger,
        on_change: OnChange | None,
        notices: Notices,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger, self._on_change, self._notices = ledger, on_change, notices
        self._clock = clock
        self._told = -1
        self._noticed: dict[int, str] = {}  # by trial: the last kind of notice
        self._next = 0.0  # time on the clock before which nothing is told

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """A process was found for the trial."""
        self._ledger.append("started", int(trial.config["trial"]), ray_id=trial.trial_id)

    def on_trial_result(
        self,
        iteration: int,
        trials: list[Trial],
        trial: Trial,
        result: Mapping[str, Any],
        **info: Any,
    ) -> None:
        """What a trial noticed is told once, however often it comes."""
        number, text = int(trial.config["trial"]), result.get(NOTICE)
        if text and self._noticed.get(number) != _kind(text):
            self._noticed[number] = _kind(text)
            self._notices.tell(f"trial {number}: {text}")

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """After each event that Ray handled, and ten times a second where there is none."""
        if self._clock() >= self._next:
            self.tell()

    def tell(self) -> None:
        """Hand the trials on, if anything was added to the ledger, and what was noticed."""
        self._notices.hand_on()
        if self._on_change and self._ledger.count != self._told:
            started = self._clock()
            self._told = self._ledger.count
            self._on_change([*self._ledger.records(), *self._ledger.confirmations()])
            now = self._clock()
            self._next = now + min((now - started) * (1 / SHARE - 1), LONGEST_PAUSE)


def _kind(text: str) -> str:
    """A notice without its numbers."""
    return re.sub(r"\d+", "", text)
