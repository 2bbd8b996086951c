"""What a command shows while its experiment runs: console, Weights & Biases, received signals."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch

from hpcm import ConfigError, Diverged
from hpcm.evaluation.image_sets import SkippedImages
from tuning.ledger.notices import Notices
from tuning.ledger.records import ExperimentInfo, TrialRecord
from tuning.on_ray.closing import SIGNALS
from tuning.on_ray.head_watch import end_process
from tuning.on_ray.preflight import check_data
from tuning.spaces.space import SearchSpace
from tuning.spaces.wording import label_line
from tuning.watching.console import Console
from tuning.watching.cost import can_measure, seconds_of_an_epoch
from tuning.watching.summary import resume_hint

if TYPE_CHECKING:
    from tuning.watching.wandb_log import Mode, WandbLog

COMPLETE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130  # exit codes of the commands that search


def check_wandb() -> Mode | None:
    """How Weights & Biases is to be used, if the environment asks for it.

    Its import takes a second. Raises :class:`ConfigError` for a mode that there is not.
    """
    if not (os.environ.get("WANDB_MODE") or os.environ.get("WANDB_API_KEY")):
        return None
    from tuning.watching.wandb_log import wandb_mode

    return wandb_mode()


def measure(space: SearchSpace, console: Console) -> float | None:
    """Seconds of an epoch of the prior config; None if this machine cannot say."""
    if not can_measure(space):
        return None
    try:
        return seconds_of_an_epoch(space)
    except (Diverged, torch.OutOfMemoryError) as error:  # trial 0 will tell; others may be fine
        reason = str(error).splitlines()[0]
        console.say(f"warning: the prior config broke off while measured: {reason}", "yellow")
        return None


def look_for_images(space: SearchSpace, console: Console) -> None:
    """Missing images end a command only if this machine would read them."""
    try:
        check_data(space)
    except ConfigError as error:
        if can_measure(space):
            raise
        console.say(f"warning: {error}", "yellow")


@contextlib.contextmanager
def image_warnings(console: Console) -> Iterator[None]:
    """A warning about the user's images is one line for the user; others keep their place."""
    printed: set[str] = set()
    with warnings.catch_warnings():
        shows = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any) -> None:
            if issubclass(category, SkippedImages):
                if str(message) not in printed:  # each place that reads the images warns
                    console.say(f"warning: {message}", "yellow")
                printed.add(str(message))
            else:
                shows(message, category, *place)

        warnings.showwarning = show  # type: ignore[assignment]
        yield


class Watch:
    """Hands what happens to the console and to Weights & Biases, until it is left."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._wandb: WandbLog | None = None
        self._notices = Notices(self.notice)
        self._asked_to_stop = False
        self._resume_hint = ""

    def __enter__(self) -> dict[str, Any]:
        """What `run_experiment` calls, by its names for them."""
        return {
            "on_start": self.start,
            "on_change": self.change,
            "on_lost": self.lost,
            "on_notice": self.notice,
        }

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self, info: ExperimentInfo) -> None:
        """Show where the experiment lives; from here on a signal is acknowledged."""
        trials = list(info.trials.values())
        self._resume_hint = resume_hint(info)
        if mode := check_wandb():
            self._start_wandb(mode, info, trials)
        self._console.start(info, trials)
        for number in SIGNALS:
            self._acknowledge(number)

    def change(self, trials: Sequence[TrialRecord]) -> None:
        """Show the trials as they stand."""
        self._console.update(trials)
        if self._wandb:
            self._wandb.update(trials)
            self._notices.hand_on()

    def notice(self, text: str) -> None:
        """Say what a person should know."""
        self._console.say(f"note: {text}", "yellow")

    def lost(self, interrupted: bool) -> None:
        """The head of the Ray cluster is gone: say so, and end the process."""
        try:
            self._console.stop()
            self._console.say(f"the head of the Ray cluster is gone; {self._resume_hint}", "red")
            sys.stdout.flush()
        finally:  # whether it was shown or not
            end_process(INTERRUPTED if interrupted else FAILED)

    def close(self) -> None:
        """Leave the terminal and W&B in order, whatever happened."""
        if self._wandb:
            self._wandb.close()
            self._notices.hand_on()
        self._console.stop()

    def _start_wandb(self, mode: Mode, info: ExperimentInfo, trials: Sequence[TrialRecord]) -> None:
        from tuning.watching.wandb_log import WandbLog

        self._wandb = WandbLog(info, mode, trials, self._notices.add)
        folder = f", in {self._wandb.directory}" if mode == "offline" else ""
        self._console.say(label_line("wandb", f"{mode}, group {info.name}{folder}"))

    def _acknowledge(self, number: int) -> None:
        """Say that a signal was heard, before the handler that acts on it."""
        handler: Any = signal.getsignal(number)

        def heard(signum: int, frame: FrameType | None) -> None:
            first, self._asked_to_stop = not self._asked_to_stop, True
            how = ": running trials save after their epoch; once more to stop at once"
            try:
                with contextlib.suppress(OSError, RuntimeError):  # a full disk; amid another print
                    if signum == signal.SIGHUP:
                        self._console.leave_terminal()
                    self._console.say(f"stopping{how if first else ' at once'}", "yellow")
            finally:  # whether it was shown or not
                handler(signum, frame)

        if callable(handler):
            signal.signal(number, heard)
