"""Successive halving without waiting for all: by stopping, and by promotion (Li et al. 2020)."""

from __future__ import annotations

from abc import ABC, abstractmethod

from ray.tune.schedulers import TrialScheduler

from tuning.ledger import Ledger
from tuning.records import Entry, TrialRecord
from tuning.schedulers.epoch_scheduler import EpochScheduler
from tuning.schedulers.promotion import PromotionTable
from tuning.schedulers.rungs import RungTable
from tuning.spaces.scheduler_sections import Asha, Promote
from tuning.spaces.space import SearchSpace


class RungScheduler(EpochScheduler, ABC):
    """What the schedulers with rungs share: a trial that crosses one enters the table."""

    table: RungTable

    def decide(self, record: TrialRecord, before: int, epoch: int, score: float) -> str:
        """Enter the highest rung that was crossed, and do what the table says."""
        level = self.table.crossed(min(before, epoch - 1), epoch)
        if level is None:
            return str(TrialScheduler.CONTINUE)
        entry = self.table.enter(level, record.number, score)
        if entry.keeps:
            return str(TrialScheduler.CONTINUE)
        return self.lose(record, level, reason_of(entry))

    @abstractmethod
    def lose(self, record: TrialRecord, level: int, reason: str) -> str:
        """What becomes of a trial that does not go on from a rung."""


class AshaScheduler(RungScheduler):
    """`asha`: a trial goes on from a rung where it is among the best ``1 / reduction_factor``.

    The prior, trial 0, goes on always: every comparison needs it at the maximum fidelity.
    """

    def __init__(self, space: SearchSpace, ledger: Ledger, section: Asha) -> None:
        super().__init__(space, ledger)
        self.table = RungTable(ledger, self.rungs[:-1], section.reduction_factor)

    def lose(self, record: TrialRecord, level: int, reason: str) -> str:
        """Stopped for good."""
        return self._end(record, "stopped", rung=level, reason=reason)


class PromoteScheduler(RungScheduler):
    """`promote`: a trial waits at a rung until it is among the best ``1 / reduction_factor`` there.

    Waiting takes no device: Ray's trial ends, and the searcher starts the same trial again, from
    its checkpoint, when :meth:`promote` names it.
    """

    table: PromotionTable

    def __init__(self, space: SearchSpace, ledger: Ledger, section: Promote) -> None:
        super().__init__(space, ledger)
        self.table = PromotionTable(
            ledger,
            self.rungs[:-1],
            section.reduction_factor,
            control=section.control,
            seed=section.seed,
        )

    def lose(self, record: TrialRecord, level: int, reason: str) -> str:
        """Not now: it waits."""
        return self._end(record, "paused", reason=f"{reason} at epoch {level}")

    def promote(self) -> int | None:
        """The trial to continue now; it is known as promoted when this returns."""
        taken = self.table.promote()
        if taken is None:
            return None
        _, entry = taken
        return entry.trial

    def give_up(self) -> None:
        """The search is over: what still waits is stopped where it is.

        Its reason is its rank now; the one with which it came may have been the best so far.
        """
        for record in self.ledger.records():
            level = self.table.waits_at(record.number)
            if record.paused and level is not None:
                there = self.table.rungs[level].now(record.number)
                few = there.peers < self.table.min_peers
                told = ", too few to compare" if few else ""
                self._end(record, "stopped", rung=level, reason=f"{reason_of(there)}{told}")


def reason_of(entry: Entry) -> str:
    """Why a trial does not go on from a rung."""
    return f"rank {entry.rank} of {entry.peers}"
