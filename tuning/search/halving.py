"""Successive halving without waiting for all: by stopping, and by promotion (Li et al. 2020)."""

from __future__ import annotations

from abc import ABC, abstractmethod

from tuning.ledger.ledger import Ledger
from tuning.ledger.records import RungEntry, TrialRecord
from tuning.search.decisions import Decision
from tuning.search.pilots import Notify, Pilots, silent
from tuning.search.promotion import PromotionTable
from tuning.search.rungs import RungTable
from tuning.search.scheduler import EpochScheduler
from tuning.spaces.scheduler_sections import Asha, Promote
from tuning.spaces.space import SearchSpace


class RungScheduler(EpochScheduler, ABC):
    """What the schedulers with rungs share: a trial that crosses one enters the table."""

    table: RungTable

    def __init__(
        self, space: SearchSpace, ledger: Ledger, section: Asha | Promote, notify: Notify
    ) -> None:
        super().__init__(space, ledger)
        self.pilots = Pilots(space, ledger, section.pilots, section.agreement, notify)

    def decide(self, record: TrialRecord, before: int, epoch: int, score: float) -> Decision:
        """Enter the highest rung that was crossed, and do what the table says."""
        level = self.table.crossed(min(before, epoch - 1), epoch)
        if level is None:
            return Decision.GO_ON
        entry = self.table.enter(level, record.number, score)
        if entry.keeps:
            return Decision.GO_ON
        return self.lose(record, level, reason_of(entry))

    @abstractmethod
    def lose(self, record: TrialRecord, level: int, reason: str) -> Decision:
        """What becomes of a trial that does not go on from a rung."""


class AshaScheduler(RungScheduler):
    """`asha`: a trial goes on from a rung where it is among the best ``1 / reduction_factor``.

    The prior, trial 0, goes on always: every comparison needs it at the maximum fidelity.
    """

    def __init__(
        self, space: SearchSpace, ledger: Ledger, section: Asha, notify: Notify = silent
    ) -> None:
        super().__init__(space, ledger, section, notify)
        self.table = RungTable(
            ledger, self.rungs[:-1], section.reduction_factor, trusts=self.pilots.trusts
        )

    def lose(self, record: TrialRecord, level: int, reason: str) -> Decision:
        """Stopped for good."""
        return self.stop(record, level, reason)


class PromoteScheduler(RungScheduler):
    """`promote`: a trial waits at a rung until it is among the best ``1 / reduction_factor`` there.

    Waiting takes no device: the trial's process ends, and the search starts the same trial again,
    from its checkpoint, when :meth:`promote` names it.
    """

    table: PromotionTable

    def __init__(
        self, space: SearchSpace, ledger: Ledger, section: Promote, notify: Notify = silent
    ) -> None:
        super().__init__(space, ledger, section, notify)
        self.table = PromotionTable(
            ledger,
            self.rungs[:-1],
            section.reduction_factor,
            control=section.control_share(space.budget.trials),
            seed=section.seed,
            trusts=self.pilots.trusts,
        )

    def lose(self, record: TrialRecord, level: int, reason: str) -> Decision:
        """Not now: it waits."""
        return self.wait(record, f"{reason} at epoch {level}")

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
                few = ", too few to compare" if there.peers < self.table.min_peers else ""
                self.stop(record, level, f"{reason_of(there)}{few}")


def reason_of(entry: RungEntry) -> str:
    """Why a trial does not go on from a rung."""
    return f"rank {entry.rank} of {entry.peers}"
