"""What TensorBoard shows of a trial: its metrics, over epochs."""

from __future__ import annotations

from typing import Any

from ray.tune.experiment import Trial
from ray.tune.logger import TBXLoggerCallback
from ray.tune.result import TRAINING_ITERATION


class TensorBoardCallback(TBXLoggerCallback):
    """Ray's, without cards for what is no metric (`done`, `epoch`, Ray's own clocks).

    Ray counts the reports of a process; a trial that was continued has several, so the axis is the
    epoch. Tune makes no logger of its own for TensorBoard besides this one.
    """

    def log_trial_result(self, iteration: int, trial: Trial, result: dict[str, Any]) -> None:
        """Write the metrics of an epoch; a report without one (the trial failed) has none."""
        if "epoch" in result:
            metrics = {key: value for key, value in result.items() if is_metric(key)}
            step = {TRAINING_ITERATION: int(result["epoch"])}
            super().log_trial_result(iteration, trial, metrics | step)


def is_metric(key: str) -> bool:
    """Whether a key of a report is a logged name (docs/architecture.md)."""
    return key.startswith("val_") or "/" in key
