"""The `scheduler` section of a search-space file: which trials are stopped early.

Each scheduler is one file of `tuning/search/`, its section beside the class that decides, and one
line of :data:`SCHEDULERS`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from hpcm.parts import KINDS, Kind
from tuning.spaces.late_parts import LateParts


class SchedulerSection(ABC):
    """What every scheduler has. A ``space`` is the `SearchSpace` whose section it is."""

    changes_config: ClassVar[bool] = False  # of a trial while it trains
    may_promote_stopped: ClassVar[bool] = False  # what it stopped goes on if more trials come
    name: str  # its key in ``SCHEDULERS``
    reduction_factor: int = 1  # of so many trials one goes on from a rung

    @abstractmethod
    def build(self, space: Any, ledger: Any, copy: Any) -> Any:
        """The :class:`tuning.search.scheduler.EpochScheduler` that decides.

        ``ledger`` is open; ``copy`` gives a trial another's checkpoint, or is None.
        """

    def levels(self, low: int, high: int) -> list[int]:
        """Epochs from ``low`` to below ``high`` at which trials are compared, ascending."""
        return []

    def planned_epochs(self, trials: int, rungs: Sequence[int], at_a_time: int = 1) -> int:
        """Epochs of all ``trials`` together, so many ``at_a_time``.

        The last of ``rungs`` is the maximum fidelity.
        """
        return trials * rungs[-1]

    def control_share(self, trials: int) -> float:
        """The share of a rung's losers that goes on by lot, in a search of ``trials`` trials."""
        return 0.0

    def problems(self, space: Any) -> Iterator[tuple[str, str]]:
        """What it cannot do in ``space``: the key, and what is wrong with it."""
        yield from ()

    def warnings(self, space: Any) -> Iterator[str]:
        """What it does in ``space``, but is probably not meant."""
        yield from ()


SCHEDULERS = LateParts(
    {
        "asha": "tuning.search.halving:Asha",
        "promote": "tuning.search.halving:Promote",
        "hyperband": "tuning.search.hyperband:Hyperband",
        "pbt": "tuning.search.population:Pbt",
        "fifo": "tuning.search.scheduler:Fifo",
    }
)
#: Of earlier versions: their experiments are read and shown, but no search runs with them.
FORMER = LateParts(dict.fromkeys(("median", "ray_asha", "pb2"), "tuning.search.retired:Retired"))

KINDS["scheduler"] = Kind(SCHEDULERS, SchedulerSection)
