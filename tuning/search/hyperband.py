"""Hyperband (Li et al. 2018, Algorithm 1): brackets of successive halving over the same rungs.

A bracket with s halvings has ``ceil((K + 1) / (s + 1) * eta^s)`` trials, K being the number of
rungs below the maximum and eta the reduction factor; its first rung is the (K - s)-th. Trials fill
the brackets by number, the one with the most halvings first, and begin again after the last. Within
a bracket the best ``floor(n / eta)`` go on, when all of it have come to the rung.

Ray 2.60's own class is not used: it pauses trials through Ray's controller, which has no memory
over a restart, and fills a bracket of the next round only when that of this round is full.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from hpcm.schema import config_class
from tuning.ledger.ledger import Ledger
from tuning.search.cohorts import Cohort, CohortScheduler
from tuning.search.halving import HalvingSection
from tuning.spaces.draws import total_trials
from tuning.spaces.space import SearchSpace


@config_class
class Hyperband(HalvingSection):
    """Brackets of successive halving, each with a later first rung (Li et al. 2018)."""

    name: Literal["hyperband"] = "hyperband"

    def build(self, space: SearchSpace, ledger: Ledger, copy: Any) -> HyperbandScheduler:
        """It compares the trials of a bracket."""
        return HyperbandScheduler(space, ledger, self)

    def sizes(self, rungs: int) -> list[int]:
        """Trials of a bracket by its number of halvings, if there are so many rungs."""
        factor = self.reduction_factor
        return [-(-(rungs + 1) * factor**s // (s + 1)) for s in range(rungs + 1)]

    def planned_epochs(self, trials: int, rungs: Sequence[int], at_a_time: int = 1) -> int:
        """Epochs of all ``trials`` together, the prior going on even if it ranks low."""
        *levels, last = rungs
        total = 0
        for bracket in brackets(self, levels, trials):
            stops = (*bracket.levels, last)
            total += len(bracket.members) * stops[0]
            extra = 0 in bracket.members
            for low, high in pairwise(stops):
                total += min(len(bracket.members), bracket.room(low) + extra) * (high - low)
        return total

    def warnings(self, space: SearchSpace) -> Iterator[str]:
        """A last rung that is short, and brackets that are left out."""
        yield from super().warnings(space)
        whole = sum(self.sizes(len(space.rungs()) - 1))
        if space.budget.trials < whole:
            yield (
                f"budget.trials is {space.budget.trials}, but one round of hyperband's brackets has"
                f" {whole}: those with the fewest halvings are left out"
            )


@dataclass(frozen=True)
class Bracket(Cohort):
    """Some trials in a row, halved at each level."""

    factor: int

    def room(self, level: int) -> int:
        """How many go on from ``level``, at least one."""
        halvings = self.levels.index(level) + 1
        return max(1, len(self.members) // int(self.factor**halvings))


class HyperbandScheduler(CohortScheduler):
    """`hyperband`: successive halving within each bracket. The prior, trial 0, always goes on."""

    def __init__(self, space: SearchSpace, ledger: Ledger, section: Hyperband) -> None:
        super().__init__(space, ledger)
        trials = max(total_trials(space), len(ledger.records()))  # a resume may ask for fewer
        layout = brackets(section, self.rungs[:-1], trials)
        self.brackets = {place: bracket for bracket in layout for place in bracket.members}

    def cohort(self, place: int) -> Bracket:
        """The bracket of a place."""
        return self.brackets[place]

    def judge(self, cohort: Cohort, level: int, ranked: Sequence[int]) -> Sequence[int]:
        """The best of the bracket, and the prior."""
        assert isinstance(cohort, Bracket)
        return [*ranked[: cohort.room(level)], 0]


def brackets(section: Hyperband, levels: Sequence[int], trials: int) -> list[Bracket]:
    """The brackets that ``trials`` fill; the last may have fewer than it should."""
    found: list[Bracket] = []
    start = 0
    while start < trials:
        for halvings in range(len(levels), -1, -1):
            size = section.sizes(len(levels))[halvings]
            members, own = range(start, min(start + size, trials)), levels[len(levels) - halvings :]
            if members:
                found.append(Bracket(members, tuple(own), section.reduction_factor))
            start += size
    return found
