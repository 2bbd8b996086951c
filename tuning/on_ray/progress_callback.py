"""Who hears of a running search: the ledger of each start, a listener of each change."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ray import tune
from ray.tune.experiment import Trial

from tuning.ledger.notices import Notices
from tuning.ledger.records import TrialRecord
from tuning.on_ray.trial_keys import NOTICE, number_of
from tuning.search.search import Search

OnChange = Callable[[Sequence[TrialRecord]], None]

SHARE = 0.05  # of the driver's time that the listener may take
LONGEST_PAUSE = 0.5  # seconds that a change may wait for the listener; nobody sees the difference


class ProgressCallback(tune.Callback):
    """Notes when a trial starts, and calls the listener when something happened.

    The listener is slower the more trials there are. If changes come faster than it can take
    them in a twentieth of the driver's time, it hears of several at once.
    """

    def __init__(
        self,
        search: Search,
        on_change: OnChange | None,
        notices: Notices,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._search, self._on_change, self._notices = search, on_change, notices
        self._ledger = search.ledger
        self._clock = clock
        self._shown = -1
        self._noticed: dict[int, str] = {}  # by trial: the last kind of notice
        self._next = 0.0  # time on the clock before which nothing is handed on

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """A process was found for the trial."""
        self._search.started(number_of(trial), trial.trial_id)

    def on_trial_result(
        self,
        iteration: int,
        trials: list[Trial],
        trial: Trial,
        result: Mapping[str, Any],
        **info: Any,
    ) -> None:
        """What a trial noticed is passed on once, however often it comes."""
        number, text = number_of(trial), result.get(NOTICE)
        if text and self._noticed.get(number) != _kind(text):
            self._noticed[number] = _kind(text)
            self._notices.add(f"trial {number}: {text}")

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """After each event that Ray handled, and ten times a second if there is none."""
        if self._clock() >= self._next:
            self.hand_on()

    def hand_on(self) -> None:
        """Hand the trials on, if anything was added to the ledger, and what was noticed."""
        self._notices.hand_on()
        if self._on_change and self._ledger.count != self._shown:
            started = self._clock()
            self._shown = self._ledger.count
            self._on_change(list(self._ledger.trials.values()))
            now = self._clock()
            self._next = now + min((now - started) * (1 / SHARE - 1), LONGEST_PAUSE)


def _kind(text: str) -> str:
    """A notice without its numbers."""
    return re.sub(r"\d+", "", text)
