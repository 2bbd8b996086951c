"""The median stopping rule (Golovin et al. 2017, "Google Vizier", section 3.2.2).

A trial stops at an epoch if its best score so far is strictly worse than the median, over the
other trials that have come as far, of the mean of their scores up to that epoch. As in Ray, means
begin at the grace (the first epochs would drown the rest), and running trials count as well as
ended ones. The decisions are those of Ray 2.60's ``MedianStoppingRule``; its cost is not, which
grows with trials times epochs at every report (here: with trials times the logarithm of the
epochs). The rule is lenient while scores fall steeply, for a mean lags behind.
"""

from __future__ import annotations

import statistics
from bisect import bisect_right

from tuning.schedulers.replayed import Verdict


class MedianRule:
    """A judge: every trial's best, and its mean by epoch."""

    def __init__(self, grace: int, min_peers: int) -> None:
        self.grace, self.min_peers = grace, min_peers
        self._best: dict[int, float] = {}
        self._epochs: dict[int, list[int]] = {}  # from the grace on, ascending
        self._sums: dict[int, list[float]] = {}  # of the scores up to each of these

    def judge(self, trial: int, epoch: int, score: float) -> Verdict:
        """Stop a trial that never was as good as the others are on average."""
        best = self._best[trial] = min(score, self._best.get(trial, score))
        if epoch < self.grace:
            return Verdict(None)
        sums = self._sums.setdefault(trial, [])
        sums.append(score + (sums[-1] if sums else 0.0))
        self._epochs.setdefault(trial, []).append(epoch)
        means = [
            self._mean(other, epoch)
            for other, epochs in self._epochs.items()
            if other != trial and epochs[0] <= epoch <= epochs[-1]
        ]
        if len(means) < self.min_peers or best <= statistics.median(means):
            return Verdict(None)
        return Verdict(f"its best is worse than the median of {len(means)} trials' means")

    def _mean(self, trial: int, epoch: int) -> float:
        """Of the trial's scores from the grace to ``epoch``."""
        count = bisect_right(self._epochs[trial], epoch)
        return self._sums[trial][count - 1] / count
