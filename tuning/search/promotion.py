"""Successive halving by promotion: at a rung every trial waits until it is among the best there.

Li et al. 2020 (ASHA), Algorithm 2. The stopping form must let the first that come to a rung go on;
this one decides again with every newcomer, so that early arrivals have no advantage, and a promoted
trial continues from its checkpoint. A random share of the losers goes on all the same (*controls*),
so that how well a rung foretells the end can be estimated without the bias of having watched
winners only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from tuning.ledger.events import Promoted
from tuning.ledger.ledger import Ledger
from tuning.ledger.records import RungEntry
from tuning.search.rungs import RungTable


class PromotionTable(RungTable):
    """Who waits at which rung. ``keeps`` of an entry: was promoted, at once or later."""

    def __init__(
        self,
        ledger: Ledger,
        levels: Sequence[int],
        reduction_factor: int,
        control: float = 0.0,
        seed: int = 0,
        trusts: Callable[[int], bool] = lambda level: True,
    ) -> None:
        """``control``: share of the losers that go on regardless, drawn with ``seed``."""
        super().__init__(ledger, levels, reduction_factor, trusts=trusts)
        self.control, self.seed = control, seed

    def judged(self, level: int, entry: RungEntry) -> RungEntry:
        """It goes on at once if it is promoted now, or by lot; else it waits."""
        goes = entry.trial == 0 or entry.rank <= self._room(level, entry.peers)
        lucky = not goes and self._is_control(level, entry.trial)
        return replace(entry, keeps=goes or lucky, control=lucky)

    def promote(self) -> Promoted | None:
        """Take the best that waits and may go on, from the highest rung down; None: nobody may.

        The promotion is in the ledger, and on the disk, on return.
        """
        for level in reversed(self.levels):
            best = self.rungs[level].best_held()
            if best is not None and best.rank <= self._room(level, best.peers):
                promoted = Promoted(best.trial, level, best.rank, best.peers)
                self._ledger.append(promoted)
                self.rungs[level].put(replace(best, keeps=True))
                return promoted
        return None

    def _room(self, level: int, peers: int) -> int:
        if not self.trusts(level):
            return peers
        return peers // self.reduction_factor if peers >= self.min_peers else 0

    def _is_control(self, level: int, trial: int) -> bool:
        import numpy as np  # whoever only reads a space needs none

        words = np.random.SeedSequence([self.seed, level, trial]).generate_state(1)
        return bool(words[0] < self.control * 2**32)
