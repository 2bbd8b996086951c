"""Weights & Biases: one run per trial, one group per experiment, all written by this one process.

Ray's own callback starts an actor per trial; here a thread of the driver opens several runs side by
side, which share one service process. A server that does not answer holds up no trial, and the end
of the search by a minute at most. Offline needs no account.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

import wandb

from hpcm.schema import ConfigError, did_you_mean
from tuning.ledger.records import ExperimentInfo, TrialRecord
from tuning.watching.background_writer import BackgroundWriter, Target

PROJECT = "hpcm-tune"  # unless WANDB_PROJECT names another
Mode: TypeAlias = Literal["online", "offline"]
MODES = (*get_args(Mode), "disabled")
GROUPS = (
    *("train/", "test/", "weights/", "scale_contrib/", "gamma/", "spectral/", "balance/"),
    *("early_stopping/", "val_", "epoch"),
)
SLOWEST_ANSWER = 60.0  # seconds that opening or ending a run may take


def wandb_mode(environment: Mapping[str, str] = os.environ) -> Mode | None:
    """The mode asked for by ``WANDB_MODE`` or by the presence of a key; None: no logging.

    Raises :class:`ConfigError` for a mode that does not exist.
    """
    mode = environment.get("WANDB_MODE", "").lower()
    if mode and mode not in MODES:
        raise ConfigError(f"WANDB_MODE is {mode!r}{did_you_mean(mode, MODES)}")
    if mode == "offline":
        return "offline"
    online = mode == "online" or (not mode and environment.get("WANDB_API_KEY"))
    return "online" if online else None


class WandbLog:
    """Mirrors the records of an experiment; a run's id is the trial's, so a resume continues it."""

    def __init__(
        self,
        info: ExperimentInfo,
        mode: Mode,
        before: Sequence[TrialRecord] = (),
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        """``before``: the trials of earlier starts; what had ended or waits has its run.

        ``tell`` hears, in another thread, when logging breaks off and when it has caught up.
        """
        self.directory = info.directory / "wandb"
        self._seen: dict[int, tuple[str, int, int]] = {}
        self._follower = BackgroundWriter(WandbRuns(info, mode, before), tell)
        self._follower.start()

    def update(self, trials: Sequence[TrialRecord]) -> None:
        """Take the trials as they stand; waits for nothing."""
        for trial in trials:
            state = (trial.state, trial.epochs, len(trial.reports))
            if self._seen.get(trial.number) != state:
                self._seen[trial.number] = state
                self._follower.note(trial)

    def close(self) -> None:
        """Send what is left, end the open runs and the service process, within a while."""
        self._follower.close()
        if self._follower.ended:
            wandb.teardown()  # else the last lines may still be on their way to the disk


class WandbRuns(Target):
    """The open runs, used by one thread."""

    label = "the log in Weights & Biases"
    behind = "runs whose trials have not ended are sent by the next --resume"
    interval = 0.5
    longest_pause = 300.0
    at_the_end = 60.0
    last_attempt = False  # it would hold up the end for SLOWEST_ANSWER

    def __init__(self, info: ExperimentInfo, mode: Mode, before: Sequence[TrialRecord]) -> None:
        self._info, self._mode = info, mode
        self._runs: dict[str, Any] = {}
        self._logged = {trial.id: trial.epochs for trial in before if trial.paused}
        self._closed = {trial.id for trial in before if trial.ended}
        self._behind = True

    def write(self, changed: Collection[TrialRecord], known: Collection[TrialRecord]) -> None:
        """Send every report that was not sent yet, and close the runs of trials that ended."""
        for trial in known if self._behind else changed:
            if trial.id not in self._closed and (trial.reports or trial.state != "pending"):
                self._send(trial)
        self._behind = False

    def release(self) -> None:
        """End the open runs; who has more to say continues them."""
        self._behind = True
        for run in self._runs.values():
            with contextlib.suppress(Exception):  # the service is gone; nothing is left to end
                run.finish(exit_code=1)
        self._runs.clear()

    def _send(self, trial: TrialRecord) -> None:
        sent = self._logged.get(trial.id, 0)
        if trial.paused and trial.id not in self._runs and trial.epochs <= sent:
            return
        run = self._runs.get(trial.id) or self._open(trial)
        for report in trial.reports:
            epoch = int(report["epoch"])
            if epoch > self._logged[trial.id]:
                run.log({k: v for k, v in report.items() if k.startswith(GROUPS)}, step=epoch)
                self._logged[trial.id] = epoch
        if trial.ended:
            run.summary.update(_ending(trial))
        if trial.ended or trial.paused:  # who is promoted continues
            del self._runs[trial.id]
            run.finish(exit_code=int(trial.state == "failed"))
        if trial.ended:
            self._closed.add(trial.id)

    def _open(self, trial: TrialRecord) -> Any:
        """Start or continue the trial's run.

        Offline, a continued run holds all epochs once more, so that syncing the files in order ends
        with the complete run.
        """
        self._info.directory.mkdir(parents=True, exist_ok=True)
        settings = wandb.Settings(
            silent=True,
            console="off",
            x_disable_stats=True,
            init_timeout=SLOWEST_ANSWER,
            finish_timeout=SLOWEST_ANSWER,
        )
        run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=f"{self._info.name}-{trial.number}",
            name=f"{self._info.name} trial {trial.number}",
            group=self._info.name,
            config={**trial.params, "trial": trial.number, "profile": self._info.space.profile},
            dir=self._info.directory,
            mode=self._mode,
            resume="allow" if self._mode == "online" else None,
            reinit="create_new",
            settings=settings,
        )
        self._runs[trial.id] = run
        self._logged[trial.id] = run.step - 1 if run.resumed else 0
        return run


def _ending(trial: TrialRecord) -> dict[str, Any]:
    """What the run's summary says of the end, besides the last values of its metrics."""
    ending = {
        "state": trial.state,
        "reason": trial.reason,
        "rung_stopped_at": trial.rung_stopped_at,
        "hours": trial.cost_hours,
    }
    return {key: value for key, value in ending.items() if value is not None}
