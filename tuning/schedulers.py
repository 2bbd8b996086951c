"""`scheduler.name` to a Ray scheduler. All of them are ours; :mod:`tuning.epoch_scheduler`."""

from __future__ import annotations

from tuning.epoch_scheduler import (
    DIVERGED,
    FAILED,
    RESTORED,
    SUSPENDED,
    EpochScheduler,
    crash_text,
    metrics_of,
)
from tuning.halving import AshaScheduler, PromoteScheduler
from tuning.ledger import Ledger
from tuning.scheduler_sections import Asha, Fifo, Promote
from tuning.space import SearchSpace

__all__ = [
    "DIVERGED",
    "FAILED",
    "RESTORED",
    "SUSPENDED",
    "AshaScheduler",
    "EpochScheduler",
    "PromoteScheduler",
    "build_scheduler",
    "crash_text",
    "metrics_of",
]


def build_scheduler(space: SearchSpace, ledger: Ledger) -> EpochScheduler:
    """The scheduler that the space names, its state that of the ledger, which is open."""
    found = _scheduler(space, ledger)
    found.reconcile()
    return found


def _scheduler(space: SearchSpace, ledger: Ledger) -> EpochScheduler:
    match space.scheduler:
        case Asha() as section:
            return AshaScheduler(space, ledger, section)
        case Promote() as section:
            return PromoteScheduler(space, ledger, section)
        case Fifo():
            return EpochScheduler(space, ledger)
