"""`scheduler.name` to the object that decides; ``scheduler.py`` has what all share."""

from __future__ import annotations

from hpcm.schema import ConfigError
from tuning.ledger.ledger import Ledger
from tuning.search.halving import AshaScheduler, PromoteScheduler
from tuning.search.hyperband import HyperbandScheduler
from tuning.search.pilots import Notify, silent
from tuning.search.population import Copy, PopulationScheduler
from tuning.search.scheduler import EpochScheduler
from tuning.spaces.scheduler_sections import Asha, Fifo, Hyperband, Pbt, Promote, Retired
from tuning.spaces.space import SearchSpace


def build_scheduler(
    space: SearchSpace, ledger: Ledger, copy: Copy | None = None, notify: Notify = silent
) -> EpochScheduler:
    """The scheduler that the space names, its state that of the ledger, which is open.

    ``copy`` copies checkpoints; only `pbt` needs it. ``notify`` hears what a person should know.
    """
    found = _scheduler(space, ledger, copy, notify)
    found.reconcile()
    return found


def _scheduler(
    space: SearchSpace, ledger: Ledger, copy: Copy | None, notify: Notify
) -> EpochScheduler:
    match space.scheduler:
        case Asha() as section:
            return AshaScheduler(space, ledger, section, notify)
        case Promote() as section:
            return PromoteScheduler(space, ledger, section, notify)
        case Hyperband() as section:
            return HyperbandScheduler(space, ledger, section)
        case Pbt() as section:
            assert copy is not None, "copies need checkpoints"
            return PopulationScheduler(space, ledger, section, copy)
        case Fifo():
            return EpochScheduler(space, ledger)
        case Retired() as section:
            raise ConfigError(f"scheduler.name: {section.name} is gone; use {section.instead}")
