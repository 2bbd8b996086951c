"""`scheduler.name` to a Ray scheduler. All of them are ours; :mod:`tuning.epoch_scheduler`."""

from __future__ import annotations

from tuning.epoch_scheduler import EpochScheduler, metrics_of
from tuning.halving import AshaScheduler, PromoteScheduler
from tuning.hyperband import HyperbandScheduler
from tuning.ledger import Ledger
from tuning.median import MedianRule
from tuning.population import PopulationScheduler, Stores
from tuning.ray_asha import RayAshaRule
from tuning.replayed import ReplayedScheduler
from tuning.scheduler_sections import (
    Asha,
    Fifo,
    Hyperband,
    Median,
    Pb2,
    Pbt,
    Promote,
    RayAsha,
)
from tuning.space import SearchSpace

__all__ = [
    "AshaScheduler",
    "EpochScheduler",
    "PromoteScheduler",
    "build_scheduler",
    "metrics_of",
]


def build_scheduler(
    space: SearchSpace, ledger: Ledger, stores: Stores | None = None
) -> EpochScheduler:
    """The scheduler that the space names, its state that of the ledger, which is open.

    ``stores`` gives a trial's checkpoints; only `pbt` and `pb2`, which copy them, need it.
    """
    found = _scheduler(space, ledger, stores)
    found.reconcile()
    return found


def _scheduler(space: SearchSpace, ledger: Ledger, stores: Stores | None) -> EpochScheduler:
    low, high = space.fidelity.min, space.fidelity.max
    match space.scheduler:
        case Asha() as section:
            return AshaScheduler(space, ledger, section)
        case Promote() as section:
            return PromoteScheduler(space, ledger, section)
        case Hyperband() as section:
            return HyperbandScheduler(space, ledger, section)
        case Median() as section:
            return ReplayedScheduler(space, ledger, MedianRule(low, section.min_peers))
        case RayAsha() as section:
            return ReplayedScheduler(space, ledger, RayAshaRule(section, low, high))
        case Pbt() | Pb2() as section:
            assert stores is not None, "copies need checkpoints"
            return PopulationScheduler(space, ledger, section, stores)
        case Fifo():
            return EpochScheduler(space, ledger)
