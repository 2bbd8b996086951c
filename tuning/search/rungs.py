"""Rungs of successive halving: the scores of trials at certain epochs, and what was decided.

Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning" (ASHA), with three rules
that Ray 2.60's version lacks: a score is recorded only when a trial *crosses* a rung, never
back-filled into a lower one; nothing is decided before ``min_peers`` trials have been there; and
every decision is a line of the ledger before it takes effect, so that a resumed search decides as
one that was never killed.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from tuning.ledger.ledger import Ledger
from tuning.ledger.records import RungEntry


class Rung:
    """The trials that were at one rung, ranked; a step costs a binary search."""

    def __init__(self, entries: Iterable[RungEntry] = ()) -> None:
        self.entries: dict[int, RungEntry] = {}  # by trial
        self._order: list[tuple[float, int]] = []  # score and trial, best first
        self._held: list[tuple[float, int]] = []  # of those, who did not go on
        for entry in entries:
            self.put(entry)

    def place(self, trial: int, score: float) -> RungEntry:
        """The entry of a newcomer with its rank; nothing is decided or kept."""
        rank = bisect_left(self._order, (score, trial)) + 1
        return RungEntry(trial, score, keeps=False, rank=rank, peers=len(self._order) + 1)

    def put(self, entry: RungEntry) -> None:
        """Keep the entry of a newcomer, or the new entry of a trial that was there."""
        key = (entry.score, entry.trial)
        before = self.entries.get(entry.trial)
        self.entries[entry.trial] = entry
        if before is None:
            insort(self._order, key)
        elif not before.keeps:
            del self._held[bisect_left(self._held, key)]
        if not entry.keeps:
            insort(self._held, key)

    def now(self, trial: int) -> RungEntry:
        """A trial's entry with its rank among all that are here now."""
        entry = self.entries[trial]
        rank = bisect_left(self._order, (entry.score, trial)) + 1
        return replace(entry, rank=rank, peers=len(self._order))

    def best_held(self) -> RungEntry | None:
        """The best of those that did not go on, with its rank among all that are here now."""
        if not self._held:
            return None
        return self.now(self._held[0][1])


class RungTable:
    """Scores by rung: the decisions of ``ledger``, ranked, and those that are added to it.

    ``levels``: epochs, ascending, without the maximum fidelity, at which nothing is decided.
    A trial goes on if it is among the best ``peers // reduction_factor`` (at least one); equal
    scores rank by trial number. The prior, trial 0, always goes on, and counts as a peer.
    """

    def __init__(
        self,
        ledger: Ledger,
        levels: Sequence[int],
        reduction_factor: int,
        min_peers: int | None = None,
        trusts: Callable[[int], bool] = lambda level: True,
    ) -> None:
        """``trusts``: whether the rung at an epoch may cut by now; until then all go on."""
        self.levels = tuple(levels)
        self.reduction_factor = reduction_factor
        self.min_peers = reduction_factor if min_peers is None else min_peers
        self.trusts = trusts
        self.rungs = {level: Rung(ledger.rungs.get(level, {}).values()) for level in levels}
        self._ledger = ledger

    def crossed(self, before: int, epoch: int) -> int | None:
        """The highest rung above ``before`` and not above ``epoch``; None if there is none."""
        return max((level for level in self.levels if before < level <= epoch), default=None)

    def enter(self, level: int, trial: int, score: float) -> RungEntry:
        """Record ``trial`` at ``level`` and decide; the decision is in the ledger on return.

        A decision that holds the trial back is synced to the disk together with the event that
        the caller then appends. A trial that was there before (it repeats epochs after a crash)
        gets its decision again, and nothing is written.
        """
        rung = self.rungs[level]
        if trial in rung.entries:
            return rung.entries[trial]
        entry = self.judged(level, rung.place(trial, score))
        self._ledger.append(entry.decision(level), sync=entry.keeps)
        rung.put(entry)
        return entry

    def judged(self, level: int, entry: RungEntry) -> RungEntry:
        """A newcomer's entry with the decision in it."""
        room = max(1, entry.peers // self.reduction_factor)
        free = entry.trial == 0 or entry.peers < self.min_peers or not self.trusts(level)
        return replace(entry, keeps=free or entry.rank <= room)

    def waits_at(self, trial: int) -> int | None:
        """The highest rung that ``trial`` came to; None if it went on from there."""
        for level in reversed(self.levels):
            entry = self.rungs[level].entries.get(trial)
            if entry is not None:
                return None if entry.keeps else level
        return None
