"""What every searcher is asked for: one config to try next."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, TypeAlias

from tuning.ledger.records import TrialRecord
from tuning.spaces.space import SearchSpace

Proposal: TypeAlias = tuple[dict[str, Any], str]  # a flat config, and where it came from
#: If not from the searcher itself.
PRIOR, PRIOR_SAMPLE, INCUMBENT, RANDOM = "prior", "prior_sample", "incumbent", "random"


class Searcher(ABC):
    """Proposes configs of a space. What it proposes depends on what it is asked with, and on seeds.

    It may keep what it has computed, never what it has proposed: that is in the records.
    """

    exhaustive: ClassVar[bool] = False  # it proposes all there is: one trial each, and no others

    def __init__(self, space: SearchSpace) -> None:
        self.space = space

    @abstractmethod
    def propose(
        self, number: int, records: Sequence[TrialRecord], attempt: int = 0
    ) -> Proposal | None:
        """The config of trial ``number``, 1 or more, and its source: the searcher's name.

        ``records``: the trials so far, those of earlier experiments (`warm_start`) before them. It
        is asked again, with ``attempt`` 1, 2, .., if what it proposed was tried before; None: it
        has no other.
        """


def seeds(seed: int, number: int, attempt: int) -> tuple[int, int]:
    """Two seeds of what is drawn for trial ``number``, others for each ``attempt``."""
    import numpy as np  # whoever only reads a space needs none

    words = [seed, number, *([attempt] if attempt else ())]
    first, second = np.random.SeedSequence(words).generate_state(2)
    return int(first), int(second)
