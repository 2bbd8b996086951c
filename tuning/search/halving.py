"""Successive halving without waiting for all: by stopping, and by promotion (Li et al. 2020)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, ClassVar, Literal

from hpcm.schema import bounded, config_class
from tuning.ledger.ledger import Ledger
from tuning.ledger.records import RungEntry, TrialRecord
from tuning.search.decisions import Decision
from tuning.search.pilots import Pilots
from tuning.search.promotion import PromotionTable
from tuning.search.rungs import RungTable
from tuning.search.scheduler import EpochScheduler
from tuning.spaces.scheduler_section import SchedulerSection
from tuning.spaces.space import SearchSpace

#: A small search would hardly have any control: rank fidelity needs four (docs/log.md).
SMALL_SEARCH, SMALL_CONTROL, LARGE_CONTROL = 64, 0.2, 0.05


def geometric(low: int, high: int, factor: int) -> list[int]:
    """``low``, ``low * factor``, ``low * factor^2``, .. below ``high``."""
    found, at = [], low
    while at < high:
        found.append(at)
        at *= factor
    return found


@config_class
class HalvingSection(SchedulerSection, ABC):
    """The keys of schedulers that keep a share of the trials at each rung."""

    reduction_factor: int = 3  # >= 2; rungs are at min, min * this, min * this^2, .., max
    pilots: int = 3  # trials at a rung and at the end before it stops any, >= 3; 0: it does at once
    agreement: float = 0.4  # Kendall tau of rung and end below which it lets all pass, -1 to 1

    def __post_init__(self) -> None:
        bounded(self, "reduction_factor", least=2)
        if self.pilots != 0 and self.pilots < 3:
            raise ValueError(f"pilots is {self.pilots}; must be 0, or 3 or more to have an order")
        if not -1 <= self.agreement <= 1:
            raise ValueError(f"agreement is {self.agreement:g}; must be -1 to 1")

    def levels(self, low: int, high: int) -> list[int]:
        """Epochs from ``low`` to below ``high`` at which trials are compared, ascending."""
        return geometric(low, high, self.reduction_factor)

    def planned_epochs(self, trials: int, rungs: Sequence[int], at_a_time: int = 1) -> int:
        """Epochs of all ``trials`` if every rung passes on its share; the prior is not stopped.

        Until the pilots have ended, whoever runs goes on to the end.
        """
        whole = max(self.pilots, at_a_time) if self.pilots and len(rungs) > 1 else 1
        whole = min(trials, whole)  # the prior is one of them
        planned = whole * rungs[-1] + (trials - whole) * rungs[0]
        for passed, (low, high) in enumerate(pairwise(rungs), start=1):
            planned += math.ceil((trials - whole) / self.reduction_factor**passed) * (high - low)
        return planned

    def warnings(self, space: SearchSpace) -> Iterator[str]:
        """A last rung that is nearer than the others."""
        rungs, fidelity = space.rungs(), space.fidelity
        if len(rungs) > 1 and rungs[-2] * self.reduction_factor != rungs[-1]:
            yield (
                f"fidelity.max is {fidelity.max}, which is not"
                f" {fidelity.min} * {self.reduction_factor}^k:"
                f" the last rung is short ({rungs[-2]} to {rungs[-1]})"
            )


@config_class
class Asha(HalvingSection):
    """Asynchronous successive halving: at each rung the best 1 / reduction_factor go on."""

    name: Literal["asha"] = "asha"

    def build(self, space: SearchSpace, ledger: Ledger, copy: Any) -> EpochScheduler:
        """It stops."""
        return AshaScheduler(space, ledger, self)


@config_class
class Promote(HalvingSection):
    """Successive halving by promotion: at a rung a trial waits until it is among the best there."""

    may_promote_stopped: ClassVar[bool] = True
    name: Literal["promote"] = "promote"
    control: float | None = None  # share of losers that go on; null: 0.2, from 64 trials on 0.05
    seed: int = 0  # of the draw of these

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.control is not None and not 0 <= self.control < 1:
            raise ValueError(f"control is {self.control:g}; must be 0 or more and below 1")
        bounded(self, "seed", least=0)

    def control_share(self, trials: int) -> float:
        """The share as given, or by the size of the search."""
        if self.control is not None:
            return self.control
        return SMALL_CONTROL if trials < SMALL_SEARCH else LARGE_CONTROL

    def build(self, space: SearchSpace, ledger: Ledger, copy: Any) -> EpochScheduler:
        """It lets trials wait."""
        return PromoteScheduler(space, ledger, self)


class RungScheduler(EpochScheduler, ABC):
    """What the schedulers with rungs share: a trial that crosses one enters the table."""

    table: RungTable

    def pilots(self, section: HalvingSection) -> Pilots:
        """Decides whether a rung may cut, for schedulers that ask."""
        least, agreement = section.pilots, section.agreement
        return Pilots(self.space, self.ledger, least, agreement, lambda text: self.notify(text))

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
    """`asha`: a trial goes on from a rung if it is among the best ``1 / reduction_factor``.

    The prior, trial 0, always goes on: every comparison needs it at the maximum fidelity.
    """

    def __init__(self, space: SearchSpace, ledger: Ledger, section: Asha) -> None:
        super().__init__(space, ledger)
        trusts = self.pilots(section).trusts
        self.table = RungTable(ledger, self.rungs[:-1], section.reduction_factor, trusts=trusts)

    def lose(self, record: TrialRecord, level: int, reason: str) -> Decision:
        """Stopped for good."""
        return self.stop(record, level, reason)


class PromoteScheduler(RungScheduler):
    """`promote`: a trial waits at a rung until it is among the best ``1 / reduction_factor`` there.

    Waiting takes no device: the trial's process ends, and the search starts the same trial again,
    from its checkpoint, when :meth:`promote` names it.
    """

    table: PromotionTable

    def __init__(self, space: SearchSpace, ledger: Ledger, section: Promote) -> None:
        super().__init__(space, ledger)
        self.table = PromotionTable(
            ledger,
            self.rungs[:-1],
            section.reduction_factor,
            control=section.control_share(space.budget.trials),
            seed=section.seed,
            trusts=self.pilots(section).trusts,
        )

    def lose(self, record: TrialRecord, level: int, reason: str) -> Decision:
        """It waits; later it may be promoted."""
        return self.wait(record, f"{reason} at epoch {level}")

    def promote(self) -> int | None:
        """The trial to continue now; it is known as promoted when this returns."""
        promoted = self.table.promote()
        return None if promoted is None else promoted.trial

    def give_up(self) -> None:
        """The search is over: what still waits is stopped where it is.

        The reason is its rank now: when it came, it may have been the best so far.
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
