"""`python -m tuning plan`: which search the given device-hours should buy, by simulating each.

A plan is a change of the space's own sections: how many trials, at which rungs how many go on, who
is confirmed. Each is made as large as the hours allow, simulated on every source and seed, and
judged by what the search would export: by how much that is worse than the best config there is.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import sqrt
from pathlib import Path
from typing import Any

from hpcm.schema import ConfigError, overlay
from tuning.ledger.ledger import Ledger
from tuning.results.rank_fidelity import Interval, jeffreys
from tuning.simulation.at_rungs import AtRungs, space_at_rungs
from tuning.simulation.judged import excess_over_best
from tuning.simulation.simulate import Costs, seeded, simulate_in
from tuning.simulation.sources import Source
from tuning.spaces.space import SearchSpace
from tuning.watching.cost import estimate

LEAST_TRIALS = 2  # the prior and another
MOST_TRIALS = 1000  # of a plan: more take minutes to simulate
MOST_GROWTH = 1.25  # of the trials by one simulated search: that of a very small one says little
SHARES = (1.0, 0.5)  # of the hours; a plan may need fewer
FEW = 0.25
CONFIRMED = {"top": 2, "seeds": [1, 2]}  # if the space confirms nobody, one plan does
Changes = Mapping[str, Mapping[str, Any]]  # of the space's sections
SourceOf = Callable[[int], tuple[Source, float]]  # by seed: curves, and what scales its seconds


@dataclass(frozen=True)
class Plan:
    """A search, as changes of the space that was asked about."""

    label: str
    changes: Changes
    space: SearchSpace  # with the changes

    def with_trials(self, trials: int) -> Plan:
        """The same with another number of trials."""
        budget = {**self.changes["budget"], "trials": trials}
        return changed(self.space, self.label, {**self.changes, "budget": budget})


@dataclass(frozen=True)
class Simulated:
    """One simulated search."""

    excess: float  # percent by which what it exports is worse than the best config there is
    lost: bool  # the best config that it tried was stopped at a rung
    hours: float  # device-hours of training
    wall: float  # hours
    use: float  # share of the devices' time that trained


@dataclass(frozen=True)
class Forecast:
    """A plan and its simulated searches."""

    plan: Plan
    searches: tuple[Simulated, ...]

    @cached_property
    def excess(self) -> float:
        """Mean percent above the best config."""
        return statistics.fmean(one.excess for one in self.searches)

    @cached_property
    def error(self) -> float:
        """Standard error of :attr:`excess`; 0 of one search."""
        values = [one.excess for one in self.searches]
        return statistics.stdev(values) / sqrt(len(values)) if len(values) > 1 else 0.0

    @property
    def lost(self) -> tuple[float, Interval]:
        """The share of searches that stopped the best config they tried; Jeffreys' interval."""
        count = sum(one.lost for one in self.searches)
        return count / len(self.searches), jeffreys(count, len(self.searches))

    def mean(self, name: str) -> float:
        """The mean of ``hours``, ``wall`` or ``use`` over the searches."""
        return statistics.fmean(getattr(one, name) for one in self.searches)


@dataclass(frozen=True, kw_only=True)
class Compute:
    """The devices and hours that a search may use."""

    hours: float  # of devices
    devices: float  # at a time
    epoch_seconds: float  # of the prior config
    start_seconds: float = 0.0  # of every start of a trial

    def slots(self, space: SearchSpace) -> int:
        """Trials at a time. Raises :class:`ConfigError` for fewer devices than one trial takes."""
        each = space.resources.devices
        if self.devices < each:
            unit = "gpus" if space.resources.gpu else "cpus"
            raise ConfigError(f"--{unit} {self.devices:g}: a trial of {space.name} takes {each:g}")
        return int(self.devices / each)


def changed(space: SearchSpace, label: str, changes: Changes) -> Plan:
    """The plan that these changes make."""
    plain = space.to_plain()
    for section, values in changes.items():
        plain[section] = overlay({section: plain[section]}, {section: values})[section]
    return Plan(label, changes, SearchSpace.from_plain(plain))


def candidates(space: SearchSpace, compute: Compute) -> list[Plan]:
    """At most a dozen plans that fit, each without a twin.

    Raises :class:`ConfigError` if the hours have no room for two trials besides the reference runs,
    if `budget.hours` ends a search before, or if the space's scheduler has no rungs.
    """
    _refuse(space, compute)
    found: dict[str, Plan] = {}
    for label, share, changes in _sketches(space):
        budget = {"trials": 1, "concurrent": compute.slots(space)}
        plan = changed(space, label, {**changes, "budget": budget})
        trials = _affordable(plan.space, share * compute.hours, compute.epoch_seconds)
        if trials >= LEAST_TRIALS:
            plan = plan.with_trials(trials)
            found.setdefault(repr(_searched(plan.space)), plan)
    if not found:
        unconfirmed = changed(space, "", {"confirm": {"top": 0}}).space
        least = _hours(unconfirmed, LEAST_TRIALS, compute.epoch_seconds)
        raise ConfigError(
            f"--{'gpu' if space.resources.gpu else 'cpu'}-hours {compute.hours:g}: too few for a"
            f" search; {space.name} needs {least:.3g} for the prior, its reference runs and one"
            " config more"
        )
    return list(found.values())


def _searched(space: SearchSpace) -> tuple[Any, ...]:
    """What makes two plans different."""
    return space.rungs(), space.scheduler, space.confirm, space.budget.trials


def _refuse(space: SearchSpace, compute: Compute) -> None:
    """Raise :class:`ConfigError` for what no plan could be made of."""
    if space.scheduler.changes_config:
        raise ConfigError(
            f"{space.name}: scheduler.name: {space.scheduler.name}; a plan chooses rungs, and"
            " trials that change on their way have none: asha, promote, hyperband or fifo"
        )
    compute.slots(space)
    limit, asked = space.budget.hours, compute.hours / compute.devices
    if limit is not None and asked > limit:
        flag = "--gpu-hours" if space.resources.gpu else "--cpu-hours"
        raise ConfigError(
            f"{flag} {compute.hours:g}: {asked:.0f} h on {compute.devices:g} devices, and"
            f" budget.hours ends a search after {limit:g} h: ask for less, or --set"
            " budget.hours=null"
        )


def _sketches(space: SearchSpace) -> Iterator[tuple[str, float, Changes]]:
    """Names, shares of the hours, and changes without the number of trials."""
    most = space.fidelity.max
    rungs: dict[str, Changes] = {"as written": {}}
    if most >= 3:
        promote = {"name": "promote", "reduction_factor": 3}
        rungs["one late rung"] = {"scheduler": promote, "fidelity": {"min": -(-most // 3)}}
    if most >= 4:
        halving = {"name": "promote", "reduction_factor": 2}
        rungs["halving, late"] = {"scheduler": halving, "fidelity": {"min": -(-most // 4)}}
    rungs["no rungs"] = {"scheduler": {"name": "fifo"}, "fidelity": {"min": 1}}
    for share in SHARES:
        for label, changes in rungs.items():
            yield label, share, changes
    yield "as written", FEW, {}
    yield "no rungs", FEW, rungs["no rungs"]
    other = {"confirm": {"top": 0} if space.confirm.top else CONFIRMED}
    for label in list(rungs)[:2]:
        yield label, 1.0, {**rungs[label], **other}


def _hours(space: SearchSpace, trials: int, epoch_seconds: float) -> float:
    """Device-hours of a search, as far as its rungs say."""
    budget = {"budget": {"trials": trials}}
    epochs = estimate(changed(space, "", budget).space, None).likely_epochs
    return epochs * epoch_seconds * space.resources.devices / 3600


def _affordable(space: SearchSpace, hours: float, epoch_seconds: float) -> int:
    """The largest number of trials that the hours allow; 0: none."""
    low, high = 0, MOST_TRIALS
    while low < high:
        middle = (low + high + 1) // 2
        fits = _hours(space, middle, epoch_seconds) <= hours
        low, high = (middle, high) if fits else (low, middle - 1)
    return low


def forecasts(
    space: SearchSpace,
    compute: Compute,
    sources: Sequence[SourceOf],
    seeds: int,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> list[Forecast]:
    """Every candidate on every source with every seed; ``progress`` hears of searches done."""
    plans = candidates(space, compute)
    count, done = len(plans) * (1 + len(sources) * seeds), 0

    def run(plan: Plan, source: SourceOf, seed: int) -> Simulated:
        nonlocal done
        found = _simulate(plan, *source(seed), compute, seed)
        done += 1
        progress(done, count)
        return found

    found = []
    for plan in plans:
        fitted = _fitted(plan, run(plan, sources[0], 0), compute)
        searches = [run(fitted, source, seed) for source in sources for seed in range(seeds)]
        found.append(Forecast(fitted, tuple(searches)))
    return found


def _fitted(plan: Plan, tried: Simulated, compute: Compute) -> Plan:
    """With as many trials as the hours allow by one simulated search, not only by its rungs.

    Controls and trials that nobody has yet to be compared with cost more than the rungs say, and
    trials that diverge less.
    """
    trials = plan.space.budget.trials
    planned = _hours(plan.space, trials, compute.epoch_seconds)
    of_prior = _hours(plan.space, 1, compute.epoch_seconds)
    if planned <= of_prior or tried.hours <= of_prior:
        return plan
    fitting = int(trials * (planned - of_prior) / (tried.hours - of_prior))
    most = min(int(MOST_GROWTH * trials), MOST_TRIALS)
    return plan.with_trials(min(max(LEAST_TRIALS, fitting), most))


def _simulate(plan: Plan, source: Source, scale: float, compute: Compute, seed: int) -> Simulated:
    space, slots = plan.space, compute.slots(plan.space)
    whole = seeded(space_at_rungs(space), seed, None)
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "plan"
        directory.mkdir()
        result = simulate_in(
            directory,
            whole,
            AtRungs(space, source, scale),
            slots=slots,
            seed=seed,
            costs=Costs(start=compute.start_seconds),
        )
        wall = Ledger(directory).seconds / 3600
    excess = excess_over_best(source, space, result)
    best = min(result.trials, key=lambda trial: excess(trial.params))
    chosen = result.best.params if result.best else space.prior()
    busy = result.hours_spent / space.resources.devices
    return Simulated(
        excess=excess(chosen),
        lost=best.state == "stopped",
        hours=result.hours_spent,
        wall=wall,
        use=busy / (slots * wall) if wall else 0.0,
    )


def best_of(found: Sequence[Forecast]) -> Forecast:
    """The plan with the least expected excess; of equal ones the cheapest."""
    return min(found, key=lambda one: (one.excess, one.mean("hours")))


def cheapest(found: Sequence[Forecast], target: float | None) -> tuple[float, Forecast | None]:
    """The cheapest plan whose expected excess is at most ``target``, in percent; and the target.

    None stands for the best plan's excess and one standard error of it (the rule of Breiman et al.
    1984).
    """
    best = best_of(found)
    limit = best.excess + best.error if target is None else target
    fit = [one for one in found if one.excess <= limit]
    return limit, min(fit, key=lambda one: one.mean("hours"), default=None)
