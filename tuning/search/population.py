"""Population-based training: the worst go on as changed copies of the best, while they train.

Jaderberg et al. 2017 (PBT) with truncation selection. The population is `budget.trials`. Every
`fidelity.min` epochs all of it is compared (``cohorts.py``: PBT's synchronous form, so that what is
copied does not depend on the speed of machines, and fewer trials than the population may run at a
time). A trial of the worst quantile gets the checkpoint and the config of one drawn from the best,
with new values of the mutable parameters. What is not mutable is copied as it is: it goes with the
weights.

Ray 2.60's own classes are not used: their state is not kept over a restart, they change values
without looking at bounds or scales, and their donor's checkpoint may have been rotated away.

A trial that fails leaves the population, which shrinks. The prior, trial 0, is never changed, but
may be copied: every comparison needs it as it is.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np

from hpcm.schema import bounded, config_class, leaves
from tuning.ledger.events import Exploited, ExploitFailed
from tuning.ledger.ledger import Ledger
from tuning.ledger.records import TrialRecord
from tuning.search.cohorts import Cohort, CohortScheduler
from tuning.search.decisions import Decision
from tuning.search.explore import Perturbation
from tuning.spaces.documents import Problem
from tuning.spaces.draws import total_trials
from tuning.spaces.scheduler_section import SchedulerSection
from tuning.spaces.space import SearchSpace

#: ``copy(trial, donor, epoch)`` gives a trial the donor's checkpoint of an epoch. Raises OSError
#: if that cannot be done. Only the driver knows what a checkpoint is.
Copy: TypeAlias = Callable[[int, int, int], None]
PATIENCE = "early_stopping.patience"


@config_class
class Pbt(SchedulerSection):
    """A population; every min epochs the worst go on as changed copies (Jaderberg et al. 2017)."""

    changes_config: ClassVar[bool] = True
    name: Literal["pbt"] = "pbt"
    quantile: float = 0.2  # share of the population that is replaced by copies of as many, to 0.5
    step: float = 0.2  # of a copy's mutable values: a factor of 1 -+ this, or this share of a range
    resample: float = 0.25  # probability that a mutable value is drawn afresh instead, 0 to 1
    seed: int = 0  # of who copies whom, and of the changes

    def __post_init__(self) -> None:
        if not 0 < self.quantile <= 0.5:
            raise ValueError(f"quantile is {self.quantile:g}; must be above 0 and 0.5 or less")
        bounded(self, "seed", least=0)
        if not 0 < self.step < 1:
            raise ValueError(f"step is {self.step:g}; must be above 0 and below 1")
        if not 0 <= self.resample <= 1:
            raise ValueError(f"resample is {self.resample:g}; must be 0 to 1")

    def build(self, space: SearchSpace, ledger: Ledger, copy: Copy | None) -> PopulationScheduler:
        """It compares the whole population."""
        assert copy is not None, "copies need checkpoints"
        return PopulationScheduler(space, ledger, self, copy)

    def levels(self, low: int, high: int) -> list[int]:
        """Every ``low`` epochs below ``high``."""
        return list(range(low, high, low))

    def problems(self, space: SearchSpace) -> Iterator[Problem]:
        """What leaves a copy nothing to change, or nothing to go on with."""
        if not any(coordinate.mutable for coordinate in space.coordinates()):
            yield (
                "scheduler.name",
                "pbt, but no parameter is mutable: it could change nothing; write"
                " `mutable: true` on parameters that may change during a run",
            )
        if space.budget.trials < 2:
            yield (
                "budget.trials",
                f"{space.budget.trials}; pbt needs a population of 2 or more",
            )
        if space.confirm.top:
            yield (
                "confirm.top",
                f"{space.confirm.top}, but under pbt a config changes while it trains: there"
                " is none to train again; leave confirm out",
            )
        if len(space.rungs()) < 2:
            yield (
                "fidelity.min",
                f"{space.fidelity.min}, which is fidelity.max: pbt compares every"
                " fidelity.min epochs, which would be never",
            )
        if PATIENCE in space.parameters or leaves(space.base).get(PATIENCE):
            yield (
                "scheduler.name",
                f"pbt, but {PATIENCE} may end a training for good, and a copy of it could"
                " not go on; leave it at 0",
            )

    def warnings(self, space: SearchSpace) -> Iterator[str]:
        """A last interval that is shorter than the others."""
        rungs, fidelity = space.rungs(), space.fidelity
        if len(rungs) > 1 and fidelity.max % fidelity.min:
            yield (
                f"fidelity.max is {fidelity.max}, which is not a multiple of {fidelity.min}:"
                f" the last interval is short ({rungs[-2]} to {rungs[-1]})"
            )


class PopulationScheduler(CohortScheduler):
    """`pbt`. A copy of the checkpoint exists before the ledger says so.

    So a driver that dies in between copies again, the same: what is drawn depends on the epoch and
    the trial's number only, and the donor goes on only when all copies are made.
    """

    def __init__(self, space: SearchSpace, ledger: Ledger, section: Pbt, copy: Copy) -> None:
        super().__init__(space, ledger)
        self.section, self.copy = section, copy
        self.population = Cohort(range(total_trials(space)), self.rungs[:-1])
        self.explorer = Perturbation(space, section.step, section.resample)

    def cohort(self, place: int) -> Cohort:
        """The whole population."""
        return self.population

    def judge(self, cohort: Cohort, level: int, ranked: Sequence[int]) -> Sequence[int]:
        """All go on, the worst as copies.

        A trial that was compared here before is not changed again when others come late because a
        resume gave them another chance: it may be far beyond.
        """
        trials = self.ledger.trials
        count = min(math.ceil(self.section.quantile * len(ranked) - 1e-9), len(ranked) // 2)
        best = [number for number in ranked[:count] if trials[number].state != "failed"]
        for number in ranked[len(ranked) - count :]:
            new = self.entry(level, number) is None and not self.moved(trials[number], level)
            if number and new and best:
                self._exploit(number, best, level)
        return ranked

    def moved(self, record: TrialRecord, level: int) -> bool:
        """Whether the trial became a copy at ``level``."""
        return bool(record.exploits) and record.exploits[-1].epoch == level

    def conclude(self, record: TrialRecord, metrics: Any, before: int) -> Decision:
        """A copy that lost its checkpoint would train another's config from its own beginning."""
        copied = record.exploits[-1] if record.exploits else None
        if copied is not None and metrics["epoch"] < copied.epoch:
            reason = f"what it copied from trial {copied.donor} at epoch {copied.epoch} is lost"
            return self.fail(record, reason)
        return super().conclude(record, metrics, before)

    def _exploit(self, number: int, best: Sequence[int], level: int) -> None:
        """Make the trial a copy of one of the ``best``; if that cannot be done, it stays itself."""
        words = np.random.SeedSequence([self.section.seed, level, number]).generate_state(2)
        generator = random.Random(int(words[0]) << 32 | int(words[1]))
        donor = generator.choice(best)
        params = self.explorer.explored(self.ledger.trials[donor], level, generator)
        try:
            self.copy(number, donor, level)
        except OSError as error:
            reason = f"no copy of trial {donor}: {error.strerror or error}"
            self.ledger.append(ExploitFailed(number, level, donor, reason))
        else:
            self.ledger.append(Exploited(number, level, donor, params))
