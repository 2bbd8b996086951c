"""What Ray's results become before the search hears of them."""

from __future__ import annotations

from tests.tuning.lr_space import METRIC, report
from tuning.on_ray.adapter import metrics_of


def test_metrics_are_what_the_trial_said() -> None:
    rays = {"training_iteration": 99, "pid": 1, "done": False, "config/optimizer.lr": 1e-4}
    result = {**report(3, 1.5), **rays, "train/loss": 2, "x": "y"}
    assert metrics_of(result) == {"epoch": 3.0, METRIC: 1.5, "train/loss": 2.0}
