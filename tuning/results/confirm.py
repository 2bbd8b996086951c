"""`confirm`: the finalists of a search and the prior once more, on fresh seeds, to the end.

The best of many trials is partly the luckiest: its number overstates it, and one seed cannot rank
configs that differ by less than seeds do (Bouthillier et al. 2021). So the best few that reached
the maximum fidelity, and the prior, are trained again on seeds that the search did not use, the
same for all: means can be compared, and differences to the prior seed by seed. These runs are
trials of the ledger with the fields ``confirms`` and ``seed``; nothing stops them at a rung, and
the searcher learns nothing from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import mean, stdev

from tuning.ledger.records import TrialRecord
from tuning.results.constraints import feasible, violations
from tuning.spaces.space import SearchSpace


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation; the latter needs two numbers."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean of all values; there is at least one."""
        return mean(self.values)

    @property
    def deviation(self) -> float | None:
        """The sample standard deviation; None for a single value."""
        return stdev(self.values) if len(self.values) > 1 else None


@dataclass(frozen=True)
class Finalist:
    """A trial of the search, and its runs on fresh seeds that reached the end."""

    trial: TrialRecord
    runs: dict[int, TrialRecord]  # by seed
    failed: int  # runs that did not come to an end

    def spread(self, metric: str) -> Spread | None:
        """The values of ``metric`` over the seeds; None without a run."""
        values = tuple(run.last[metric] for run in self.runs.values())
        return Spread(values) if values else None

    def difference(self, prior: Finalist, metric: str) -> Spread | None:
        """Differences of ``metric`` to the prior on the same seeds; None if no seed has both."""
        common = [seed for seed in self.runs if seed in prior.runs]
        values = tuple(self.runs[s].last[metric] - prior.runs[s].last[metric] for s in common)
        return Spread(values) if values else None


@dataclass(frozen=True)
class Confirmation:
    """What the runs on fresh seeds have shown so far."""

    space: SearchSpace
    finalists: tuple[Finalist, ...]  # the prior first, then the baseline if there is one
    left: int  # runs that did not come to their end; the hours may have cut them
    failures: tuple[TrialRecord, ...] = ()  # runs that failed

    @property
    def complete(self) -> bool:
        """Whether every run has ended."""
        return self.left == 0

    @cached_property
    def ranked(self) -> list[Finalist]:
        """Those that ended on every seed and keep the constraints, the best mean first."""
        objective = self.space.objective
        sign = objective.sign
        whole = [
            finalist
            for finalist in self.finalists
            if finalist.trial.role == "search"
            and len(finalist.runs) == len(self.space.confirm.seeds)
            and _keeps(finalist, self.space)
        ]
        return sorted(whole, key=lambda one: sign * one.spread(objective.score).mean)  # type: ignore[union-attr]

    @property
    def best(self) -> Finalist | None:
        """The first of `ranked`, once every run has ended."""
        return self.ranked[0] if self.complete and self.ranked else None


def finalists(trials: Sequence[TrialRecord], space: SearchSpace) -> list[TrialRecord]:
    """The best ``confirm.top`` at the maximum fidelity that keep the constraints, best first.

    Without the prior, which is compared with all of them.
    """
    metric, sign = space.objective.score, space.objective.sign
    level = [
        trial
        for trial in trials
        if trial.state == "finished"
        and not trial.is_prior
        and metric in trial.last
        and feasible(trial, space.objective)
    ]
    ranked = sorted(level, key=lambda trial: (sign * trial.last[metric], trial.number))
    return ranked[: space.confirm.top]


def planned_runs(
    trials: Sequence[TrialRecord], space: SearchSpace, references: Sequence[TrialRecord] = ()
) -> list[tuple[TrialRecord, int]]:
    """Every run that the finished search asks for, seed by seed; none without a finalist.

    ``references``: the reference runs; the one at the trials' lmbda is the baseline, and is
    confirmed like the prior.
    """
    found = finalists(trials, space)
    prior = [trial for trial in trials if trial.is_prior]
    prior += [run for run in references if run.lmbda == space.lmbda]
    return [
        (trial, seed)
        for seed in space.confirm.seeds
        for trial in [*prior, *found]
        if found  # without a finalist there is nothing to compare
    ]


def confirmation(
    trials: Sequence[TrialRecord],
    runs: Sequence[TrialRecord],
    space: SearchSpace,
    references: Sequence[TrialRecord] = (),
) -> Confirmation | None:
    """What is known of the finalists; None if nothing is to be confirmed."""
    asked = planned_runs(trials, space, references)
    if not asked:
        return None
    made = {(run.confirms, run.seed): run for run in runs}
    ended = [made.get((trial.number, seed)) for trial, seed in asked]
    return Confirmation(
        space=space,
        finalists=tuple(
            _finalist(trial, made, space)
            for trial in {trial.number: trial for trial, _ in asked}.values()
        ),
        left=sum(run is None or run.state not in ("finished", "failed") for run in ended),
        failures=tuple(run for run in ended if run is not None and run.state == "failed"),
    )


def _finalist(
    trial: TrialRecord, made: dict[tuple[int | None, int | None], TrialRecord], space: SearchSpace
) -> Finalist:
    runs = {seed: made.get((trial.number, seed)) for seed in space.confirm.seeds}
    metric = space.objective.score
    return Finalist(
        trial=trial,
        runs={s: r for s, r in runs.items() if r and r.state == "finished" and metric in r.last},
        failed=sum(r is not None and r.state == "failed" for r in runs.values()),
    )


def _keeps(finalist: Finalist, space: SearchSpace) -> bool:
    """Whether the means over the seeds keep the constraints."""
    means: dict[str, float] = {
        metric: mean(run.last[metric] for run in finalist.runs.values())
        for metric in space.objective.constraints
        if all(metric in run.last for run in finalist.runs.values())
    }
    return all(missed <= 0 for missed in violations(means, space.objective).values())
