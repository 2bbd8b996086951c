"""Trials that are compared all at once: each waits until the others of its cohort are there.

The decision then depends only on the scores: not on who came first, on how many trials run at
a time, or on how often the driver was restarted. Waiting takes no device: the trial's process ends,
and the search starts the same trial again, from its checkpoint, when
:meth:`CohortScheduler.promote` names it. If fewer trials run at a time than a cohort has, they take
turns. The price: the devices of those that came early do nothing for this cohort until its slowest
is there.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from tuning.ledger.events import Promoted
from tuning.ledger.records import RungEntry, TrialRecord
from tuning.search.decisions import Decision
from tuning.search.scheduler import EpochScheduler


@dataclass(frozen=True)
class Cohort:
    """Who is compared with whom, and when."""

    members: range  # positions in the order of proposal; other runs have none
    levels: tuple[int, ...]  # epochs, ascending

    def level_at(self, epoch: int) -> int | None:
        """The last comparison up to ``epoch``; None before the first."""
        return max((level for level in self.levels if level <= epoch), default=None)


class CohortScheduler(EpochScheduler, ABC):
    """What the schedulers with cohorts share. All they know is in the ledger."""

    _settled = -1  # how many events the ledger had when nothing was left to settle

    @abstractmethod
    def cohort(self, place: int) -> Cohort:
        """The cohort of a place, whether or not a trial was proposed for it yet."""

    @abstractmethod
    def judge(self, cohort: Cohort, level: int, ranked: Sequence[int]) -> Sequence[int]:
        """Who goes on from ``level``, of those that came there, best first; may change them.

        Called again after a restart that cut it short: what it did before must not count.
        """

    def moved(self, record: TrialRecord, level: int) -> bool:
        """Whether the trial goes on from ``level`` with another config than its process has."""
        return False

    def decide(self, record: TrialRecord, before: int, epoch: int, score: float) -> Decision:
        """Wait, or do what was decided when the cohort was complete."""
        cohort = self._cohort_of(record)
        level = cohort.level_at(epoch)
        if level is None or level <= min(before, epoch - 1):
            return Decision.GO_ON
        first = self.entry(level, record.number) is None
        missing = self._missing(cohort, level) if first else 0
        if missing:
            others = f"{missing} other" + ("s" if missing > 1 else "")
            return self.wait(record, f"waits at epoch {level} for {others}")
        if first:
            self._settle(cohort, level)
        if record.ended:
            return Decision.STOP
        if first and self.moved(record, level):
            return self.wait(record, f"starts anew from epoch {level}")
        return Decision.GO_ON

    def promote(self) -> int | None:
        """A trial that waited for its cohort and goes on now, those that are furthest first."""
        self._settle_complete()
        ready = []
        for record in self.ledger.records():
            if record.paused:
                level, entry = self._newest(record)
                if entry is not None and entry.keeps:
                    ready.append((-level, entry.rank, entry.peers, record.number))
        if not ready:
            return None
        level, rank, peers, number = min(ready)
        self.ledger.append(Promoted(number, -level, rank, peers))
        return number

    def reconcile(self) -> None:
        """Also decide on the rest of a cohort if a killed driver had decided on a part of it."""
        super().reconcile()
        self._settle_complete()
        for record in self.ledger.records():
            level, entry = self._newest(record)
            if entry is not None and not entry.keeps and not record.ended:
                self._stop_at_rung(record.number, level)

    def entry(self, level: int, number: int) -> RungEntry | None:
        """What was decided of a trial at a level; None before."""
        return self.ledger.rungs.get(level, {}).get(number)

    def _cohort_of(self, record: TrialRecord) -> Cohort:
        known, place = self.ledger.records(), record.number
        if place >= len(known) or known[place] is not record:  # runs that confirm have numbers too
            place = next(place for place, other in enumerate(known) if other is record)
        return self.cohort(place)

    def _newest(self, record: TrialRecord) -> tuple[int, RungEntry | None]:
        level = self._cohort_of(record).level_at(record.epochs) or 0
        return level, self.entry(level, record.number)

    def _missing(self, cohort: Cohort, level: int) -> int:
        """How many members are still to come to ``level``, as far as is known."""
        known = self.ledger.records()[cohort.members.start : cohort.members.stop]
        due = [
            record
            for record in known
            if not (record.ended or record.epochs >= level)
            and self.entry(level, record.number) is None
        ]
        return len(due) + len(cohort.members) - len(known)

    def _settle_complete(self) -> None:
        """Compare every cohort whose last member failed, or whose comparison was cut short."""
        if self.ledger.count == self._settled:
            return
        waiting: dict[tuple[int, int], Cohort] = {}
        for record in self.ledger.records():
            if record.paused and not self.waits_for_references(record):
                level, entry = self._newest(record)
                if entry is None:
                    cohort = self._cohort_of(record)
                    waiting[level, cohort.members.start] = cohort
        for (level, _), cohort in waiting.items():
            if not self._missing(cohort, level):
                self._settle(cohort, level)
        self._settled = self.ledger.count

    def _settle(self, cohort: Cohort, level: int) -> None:
        """Rank who is there, let the scheduler judge, and write it down."""
        scores = self._scores(cohort, level)
        ranked = sorted(scores, key=lambda number: (scores[number], number))
        going = set(self.judge(cohort, level, ranked))
        for rank, number in enumerate(ranked, start=1):
            if self.entry(level, number) is not None:
                continue
            found = RungEntry(number, scores[number], number in going, rank, peers=len(ranked))
            self.ledger.append(found.decision(level))
            if not found.keeps:
                self._stop_at_rung(number, level)

    def _scores(self, cohort: Cohort, level: int) -> dict[int, float]:
        """The scores of the members that came to ``level``; smaller is better."""
        found = {}
        for record in self.ledger.records()[cohort.members.start : cohort.members.stop]:
            entry = self.entry(level, record.number)
            if entry is not None:
                found[record.number] = entry.score
            elif record.state != "failed" and record.epochs >= level:
                curve = record.curve(self.metric_name)
                epoch = min((e for e in curve if e >= level), default=None)
                found[record.number] = math.inf if epoch is None else self.sign * curve[epoch]
        return found

    def _stop_at_rung(self, number: int, level: int) -> None:
        entry = self.entry(level, number)
        assert entry is not None
        reason = f"rank {entry.rank} of {entry.peers}"
        self.stop(self.ledger.trials[number], level, reason)
