"""Pilots: a rung stops nobody until it is seen to foretell the end.

How high the lowest rung must be is not known beforehand: on some curves a ninth of the epochs ranks
trials as the end does, on others it ranks nothing. So the first trials go on, and once enough
of them have both a score at the rung and one at the end, their Kendall tau decides: the rung cuts
from then on if it reaches the threshold, and lets everybody pass otherwise. It is measured
again with every trial that ends.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tuning.ledger.ledger import Ledger
from tuning.results.rank_fidelity import weighted_tau_b
from tuning.search.decisions import Notify
from tuning.spaces.space import SearchSpace


@dataclass(frozen=True)
class Agreement:
    """What is known of a rung: how many trials have both scores, and their Kendall tau-b."""

    trials: int = 0
    tau: float | None = None  # None: fewer than two, or all scores of one side are equal


class Pilots:
    """Whether a rung may cut, from the trials of ``ledger`` that have ended."""

    def __init__(
        self,
        space: SearchSpace,
        ledger: Ledger,
        least: int,
        agreement: float,
        notify: Notify,
    ) -> None:
        """``least``: trials with both scores before a rung cuts, 0 for none; ``agreement``: tau."""
        self.least, self.threshold, self.notify = least, agreement, notify
        self._ledger = ledger
        self._metric, self._end = space.objective.score, space.fidelity.max
        self._sign = space.objective.sign
        self._found: dict[int, tuple[int, Agreement]] = {}  # by level, with the ends known then
        self._said: dict[int, bool] = {}

    def trusts(self, level: int) -> bool:
        """Whether the rung at ``level`` may stop a trial, or let it wait."""
        if not self.least:
            return True
        found = self.at(level)
        if found.trials < self.least:
            return False
        good = found.tau is not None and found.tau >= self.threshold
        if self._said.get(level) is not good:
            self._said[level] = good
            self.notify(self._text(level, found, good))
        return good

    def at(self, level: int) -> Agreement:
        """The agreement of the rung at ``level`` with the end."""
        ends = len(self._ledger.whole)
        known = self._found.get(level)
        if known is None or known[0] != ends:
            known = self._found[level] = ends, self._measured(level)
        return known[1]

    def _measured(self, level: int) -> Agreement:
        there, scores = self._ledger.rungs.get(level, {}), []
        for number in self._ledger.whole:
            last = self._ledger.trials[number].scored(self._metric)
            if number in there and last.get("epoch") == self._end:
                scores.append((there[number].score, self._sign * last[self._metric]))
        pairs = [pair for pair in scores if all(map(math.isfinite, pair))]
        if len(pairs) < 2:
            return Agreement(len(pairs))
        first, later = zip(*pairs, strict=True)
        return Agreement(len(pairs), weighted_tau_b(first, later, [1.0] * len(pairs)))

    def _text(self, level: int, found: Agreement, good: bool) -> str:
        tau = "no order" if found.tau is None else f"Kendall tau {found.tau:.2f}"
        what = "cuts from now on" if good else "lets all pass"
        return f"the rung at epoch {level} {what}: {tau} with the end, of {found.trials} trials"
