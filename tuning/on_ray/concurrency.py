"""How many trials run at a time, as the cluster is now: nodes join while a search runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ray.tune.search import ConcurrencyLimiter, Searcher

EVERY = 5.0  # seconds between two looks at the cluster


class GrowingLimiter(ConcurrencyLimiter):
    """Ray's limit on the trials at a time, raised if more of them fit than at the start.

    Ray 2.60 fixes ``max_concurrent_trials`` for good, so that nodes that join later stand idle.
    ``fit()``: trials that fit into the cluster now. The limit is never lowered: trials of a node
    that was lost wait for another, and it may come back.
    """

    max_concurrent: int

    def __init__(
        self,
        searcher: Searcher,
        at_start: int,
        fit: Callable[[], int],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(searcher, at_start)
        self._fit, self._clock = fit, clock
        self._looked = clock()

    def suggest(self, trial_id: str) -> Any:
        """What the searcher suggests; nothing if as many trials run as may."""
        now = self._clock()
        if now - self._looked >= EVERY:
            self._looked = now
            self.max_concurrent = max(self.max_concurrent, self._fit())
        return super().suggest(trial_id)
