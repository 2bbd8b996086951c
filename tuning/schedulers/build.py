"""`scheduler.name` to a Ray scheduler. All of them are ours: ``epoch_scheduler.py``."""

from __future__ import annotations

from tuning.ledger import Ledger
from tuning.schedulers.epoch_scheduler import EpochScheduler, metrics_of
from tuning.schedulers.halving import AshaScheduler, PromoteScheduler
from tuning.schedulers.hyperband import HyperbandScheduler
from tuning.schedulers.median import MedianRule
from tuning.schedulers.population import PopulationScheduler, Stores
from tuning.schedulers.ray_asha import RayAshaRule
from tuning.schedulers.replayed import ReplayedScheduler
from tuning.spaces.scheduler_sections import (
    Asha,
    Fifo,
    Hyperband,
    Median,
    Pb2,
    Pbt,
    Promote,
    RayAsha,
)
from tuning.spaces.space import SearchSpace

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
