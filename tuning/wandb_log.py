"""Weights & Biases: one run per trial, one group per experiment, all written by this one process.

Ray's own callback starts an actor per trial; here the driver opens several runs side by side, which
share one service process. Offline needs no account.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

import wandb

from hpcm.schema import ConfigError, did_you_mean
from tuning.records import ExperimentInfo, TrialRecord

PROJECT = "hpcm-tune"  # unless WANDB_PROJECT names another
Mode: TypeAlias = Literal["online", "offline"]
MODES = (*get_args(Mode), "disabled")
GROUPS = (
    *("train/", "test/", "weights/", "scale_contrib/", "gamma/", "spectral/", "balance/"),
    *("val_", "epoch"),
)


def wandb_mode(environment: Mapping[str, str] = os.environ) -> Mode | None:
    """The mode asked for by ``WANDB_MODE`` or by the presence of a key; None: no logging.

    Raises :class:`ConfigError` for a mode that does not exist.
    """
    mode = environment.get("WANDB_MODE", "").lower()
    if mode and mode not in MODES:
        raise ConfigError(f"WANDB_MODE is {mode!r}{did_you_mean(mode, MODES)}")
    if mode == "offline":
        return "offline"
    wanted = mode == "online" or (not mode and environment.get("WANDB_API_KEY"))
    return "online" if wanted else None


class WandbLog:
    """Mirrors the records of an experiment; a run's id is the trial's, so a resume continues it."""

    def __init__(self, info: ExperimentInfo, mode: Mode, ended: Sequence[str] = ()) -> None:
        """``ended``: ids of trials that had ended before this start; their runs stay closed."""
        self.directory = info.directory / "wandb"
        self.problem: str | None = None  # why logging broke off; the search goes on without
        self._info, self._mode = info, mode
        self._runs: dict[str, Any] = {}
        self._logged: dict[str, int] = {}
        self._closed: set[str] = set(ended)

    def update(self, trials: Sequence[TrialRecord]) -> None:
        """Send every report that was not sent yet, and close the runs of trials that ended."""
        if self.problem is not None:
            return
        try:
            for trial in trials:
                if trial.state != "pending" and trial.id not in self._closed:
                    self._send(trial)
        except (wandb.Error, OSError, ValueError, TimeoutError) as error:
            self.problem = f"Weights & Biases broke off: {str(error).splitlines()[0]}"

    def close(self) -> None:
        """End the open runs and the service process; a resume continues unfinished trials' runs."""
        for run in self._runs.values():
            run.finish(exit_code=1)
        self._runs.clear()
        wandb.teardown()  # else the last lines may still be on their way to the disk

    def _send(self, trial: TrialRecord) -> None:
        run = self._runs.get(trial.id) or self._open(trial)
        for report in trial.reports:
            epoch = int(report["epoch"])
            if epoch > self._logged[trial.id]:
                run.log({k: v for k, v in report.items() if k.startswith(GROUPS)}, step=epoch)
                self._logged[trial.id] = epoch
        if trial.ended:
            run.summary.update(_ending(trial))
            run.finish(exit_code=int(trial.state == "failed"))
            del self._runs[trial.id]
            self._closed.add(trial.id)

    def _open(self, trial: TrialRecord) -> Any:
        """Start or continue the trial's run.

        Offline, a continued run holds all epochs once more, so that syncing the files in order ends
        with the complete run.
        """
        self.directory.parent.mkdir(parents=True, exist_ok=True)
        settings = wandb.Settings(silent=True, console="off", x_disable_stats=True)
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
    """What the run's summary says of the end, beside the last values of its metrics."""
    told = {
        "state": trial.state,
        "reason": trial.reason,
        "rung_stopped_at": trial.rung_stopped_at,
        "hours": trial.cost_hours,
    }
    return {key: value for key, value in told.items() if value is not None}
