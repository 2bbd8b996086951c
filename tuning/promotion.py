"""Successive halving by promotion: at a rung every trial waits until it is among the best there.

Li et al. 2020 (ASHA), Algorithm 2. The stopping kind must let the first that come to a rung go on;
this one decides again with every newcomer, so that early arrivals have no advantage, and what it
thaws continues from its checkpoint. A random share of the losers goes on all the same (*controls*),
so that how well a rung foretells the end can be estimated without the bias of having watched
winners only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tuning.rungs import Entry, RungTable


class PromotionTable(RungTable):
    """Who waits at which rung. ``keeps`` of an entry: was promoted, at once or later."""

    def __init__(
        self,
        directory: Path,
        levels: Sequence[int],
        reduction_factor: int,
        control: float = 0.0,
        seed: int = 0,
        min_peers: int | None = None,
    ) -> None:
        """``control``: share of the losers that go on regardless, drawn with ``seed``."""
        super().__init__(directory, levels, reduction_factor, min_peers)
        self.control, self.seed = control, seed

    def enter(self, level: int, trial: int, score: float) -> Entry:
        """Record ``trial``; it goes on at once where it is promoted now, else it waits."""
        there = self._table()[level]
        if trial not in there:
            entry = self._place(level, trial, score)
            goes = trial in self.never_stopped or entry.rank <= self._room(entry.peers)
            lucky = not goes and self._is_control(level, trial)
            there[trial] = replace(entry, keeps=goes or lucky, control=lucky)
            self._save()
        return there[trial]

    def promote(self) -> tuple[int, Entry] | None:
        """Take the best that waits and may go on, from the highest rung down; None: nobody may."""
        for level in reversed(self.levels):
            ranked = self.at(level)
            for rank, entry in enumerate(ranked[: self._room(len(ranked))], start=1):
                if not entry.keeps:
                    taken = replace(entry, keeps=True, rank=rank, peers=len(ranked))
                    self._table()[level][entry.trial] = taken
                    self._save()
                    return level, taken
        return None

    def waits_at(self, trial: int) -> int | None:
        """The rung where ``trial`` waits; None where it does not wait."""
        for level in reversed(self.levels):
            entry = self._table()[level].get(trial)
            if entry is not None:
                return None if entry.keeps else level
        return None

    def _room(self, peers: int) -> int:
        return peers // self.reduction_factor if peers >= self.min_peers else 0

    def _is_control(self, level: int, trial: int) -> bool:
        words = np.random.SeedSequence([self.seed, level, trial]).generate_state(1)
        return bool(words[0] < self.control * 2**32)
