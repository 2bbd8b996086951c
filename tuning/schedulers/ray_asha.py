"""Ray's own ASHA (``AsyncHyperBandScheduler`` of Ray 2.60) as the judge of our reports.

Its decisions are Ray's, fed with our `epoch` and with finite scores only. What remains as Ray has
it, and is different in `asha`: a trial is compared with those that came to the rung before it, so
the first always goes on, and so does a trial that is better than the one before, however bad both
are; there is no smallest number of peers; the cut-off is an interpolated percentile; a trial that
equals the cut-off goes on, so equal scores are never stopped; with several brackets the bracket is
drawn, and few trials get a late one. What does not remain: a state that is lost or filled with late
scores by a restart, NaN that goes on for ever, and brackets drawn from a generator that nobody
seeded.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_left, insort
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

from tuning.schedulers.replayed import Verdict
from tuning.spaces.scheduler_sections import RayAsha


class RayAshaRule:
    """A judge that asks Ray's object. ``low``, ``high``: epochs of the first rung and the end."""

    def __init__(self, section: RayAsha, low: int, high: int) -> None:
        self.seed = section.seed
        self.levels = section.levels(low, high)
        self._scores: dict[tuple[int, int], list[float]] = {}  # by bracket and level, best first
        self._bracket: dict[int, int] = {}  # by trial
        self._ray = AsyncHyperBandScheduler(
            time_attr="epoch",
            metric="score",
            mode="min",
            max_t=high,
            grace_period=low,
            reduction_factor=section.reduction_factor,
            brackets=section.brackets,
        )

    def judge(self, trial: int, epoch: int, score: float) -> Verdict:
        """Ray's decision; at a rung of the trial's bracket also its rank there."""
        stub = SimpleNamespace(trial_id=str(trial))
        if trial not in self._bracket:
            with seeded(self.seed, trial):
                self._ray.on_trial_add(None, stub)
            chosen = self._ray._trial_info[stub.trial_id]
            self._bracket[trial] = self._ray._brackets.index(chosen)
        action = self._ray.on_trial_result(None, stub, {"epoch": epoch, "score": score})
        if epoch not in self.levels[self._bracket[trial] :]:
            return Verdict(None)
        there = self._scores.setdefault((self._bracket[trial], epoch), [])
        rank = bisect_left(there, score) + 1
        insort(there, score)
        stops = action == TrialScheduler.STOP
        return Verdict(f"rank {rank} of {len(there)}" if stops else None, rank, len(there))


@contextlib.contextmanager
def seeded(*words: int) -> Iterator[None]:
    """NumPy's global generator, which Ray draws from, seeded; as it was before afterwards."""
    before = np.random.get_state()
    np.random.seed(np.random.SeedSequence(words).generate_state(1)[0])
    try:
        yield
    finally:
        np.random.set_state(before)
