"""The number of trials at a time follows the cluster upwards."""

from __future__ import annotations

from typing import Any

from ray.tune.search import Searcher

from tuning.on_ray.concurrency import EVERY, GrowingLimiter


class Endless(Searcher):
    """Suggests whenever it is asked."""

    def suggest(self, trial_id: str) -> Any:
        return {"trial": trial_id}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        pass

    def save(self, checkpoint_path: str) -> None: ...

    def restore(self, checkpoint_path: str) -> None: ...


def test_nodes_that_join_are_used_and_nodes_that_leave_lower_nothing() -> None:
    now, fit = 0.0, 1
    limiter = GrowingLimiter(Endless(), 1, lambda: fit, clock=lambda: now)
    asked = 0

    def started() -> int:
        nonlocal asked
        while True:
            asked += 1
            if limiter.suggest(str(asked)) is None:
                return len(limiter.live_trials)

    assert started() == 1
    fit = 3
    assert started() == 1  # the cluster is not asked at every step
    now = EVERY
    assert started() == 3
    now, fit = 2 * EVERY, 0
    assert started() == 3
    limiter.on_trial_complete("1")
    assert started() == 3
