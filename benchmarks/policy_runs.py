"""One simulated search by one policy: what it would name as the best, as its epochs are spent."""

from __future__ import annotations

import heapq
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from benchmarks.policy_ray import RaySearch
from tuning.ledger.events import Opened
from tuning.ledger.ledger import Ledger
from tuning.ledger.records import TrialRecord
from tuning.results.outcome import best_of
from tuning.search.decisions import Decision, Idle, Start
from tuning.search.halving import SMALL_CONTROL, Asha, Promote
from tuning.search.hyperband import Hyperband
from tuning.search.random_draws import Random
from tuning.search.scheduler import Fifo
from tuning.search.search import Search
from tuning.search.sessions import open_session
from tuning.search.tpe_section import Tpe
from tuning.simulation.drive import Epoch, SimulatedTime, drive
from tuning.simulation.sources import Source
from tuning.spaces.scheduler_section import SchedulerSection
from tuning.spaces.searcher_section import SearcherSection
from tuning.spaces.space import SearchSpace

MARKS = (2, 4, 8, 16, 32)  # epochs spent, in full runs, at which a search is looked at
GRID = [  # of the public HPCM code with Balanced R-D, search_spaces/phase1_grid.yaml
    {"balancer.gamma": gamma, "balancer.w_lr": rate}
    for gamma in (0.003, 0.001, 0.005, 0.01)
    for rate in (0.025, 0.01, 0.05)
]


@dataclass
class Trace:
    """What one search came to."""

    named: dict[int, Mapping[str, Any]] = field(default_factory=dict)  # by mark: the best config
    whole: list[Mapping[str, Any]] = field(default_factory=list)  # configs that reached the end
    spent: float = 0.0  # full runs
    used: float = math.nan  # share of the slots' time that trained, until the last proposal


@dataclass(frozen=True)
class Case:
    """A space over a source, and how much of it is searched."""

    space: SearchSpace
    source: Source
    slots: int
    seed: int
    trials: int | None = None  # of a source with so many arms, tried one and all; None: 32 runs


Policy = Callable[[Case], Trace]


class Looked:
    """Keeps what a search would name whenever a mark is passed."""

    def __init__(self, case: Case) -> None:
        self.trace, self.reports, self.busy = Trace(), 0, 0.0
        self._most, self._space = case.space.fidelity.max, case.space
        self._slots = case.slots

    def report(self, records: Callable[[], list[TrialRecord]], seconds: float) -> None:
        """One more epoch was trained."""
        self.reports += 1
        self.busy += seconds
        if self.reports % self._most == 0 and (mark := self.reports // self._most) in MARKS:
            self.name(records(), mark)

    def name(self, records: list[TrialRecord], mark: int) -> None:
        """Keep the best now; a search without any names its first config."""
        best = best_of(records, self._space)
        self.trace.named[mark] = records[0].params if best is None else best.params

    def proposed(self, now: float) -> None:
        """A new trial begins."""
        if now:
            self.trace.used = self.busy / (self._slots * now)

    def ended(self, records: list[TrialRecord]) -> Trace:
        """The search is over; marks that it did not come to have what it names in the end."""
        for mark in MARKS:
            if mark not in self.trace.named:
                self.name(records, mark)
        self.trace.whole = [record.params for record in records if record.state == "finished"]
        self.trace.spent = self.reports / self._most
        return self.trace


class LookedAt(Search):
    """A search that is looked at."""

    def __init__(self, case: Case, ledger: Ledger, time: SimulatedTime) -> None:
        super().__init__(case.space, ledger)
        self.looked, self._time, self._source = Looked(case), time, case.source

    def next(self) -> Start | Idle:
        """Notes a new trial."""
        before = len(self.ledger.trials)
        found = super().next()
        if len(self.ledger.trials) > before:
            self.looked.proposed(self._time.at)
        return found

    def report(
        self, trial: int, metrics: Mapping[str, float], *, restored: bool = False
    ) -> Decision:
        """Looks after it."""
        decision = super().report(trial, metrics, restored=restored)
        self.looked.report(self.ledger.records, metrics["train/seconds"])
        return decision


def ours(scheduler: SchedulerSection, searcher: SearcherSection | None = None) -> Policy:
    """A policy of this project; with arms, whose configs say nothing, sampling looks at nothing."""

    def play(case: Case) -> Trace:
        sampler = Random() if case.trials is not None or searcher is None else searcher
        budget = replace(case.space.budget, trials=case.trials or 10_000, hours=None)
        seeded = replace(sampler, seed=case.seed)  # type: ignore[type-var]
        section = scheduler
        if isinstance(section, Promote):
            section = replace(section, seed=case.seed)
        space = replace(case.space, scheduler=section, searcher=seeded, budget=budget)
        return _driven(replace(case, space=space))

    return play


def _driven(case: Case) -> Trace:
    with tempfile.TemporaryDirectory() as folder:
        time = SimulatedTime()
        ledger = Ledger(Path(folder), clock=time.clock(), durable=False)
        open_session(ledger, Opened())
        search = LookedAt(case, ledger, time)

        def begin(start: Start) -> Iterator[Epoch]:
            record = ledger.trials[start.trial]
            for epoch in range(record.epochs + 1, case.space.fidelity.max + 1):
                yield epoch_of(case, record.params, epoch)

        most = None if case.trials else max(MARKS) * case.space.fidelity.max
        drive(search, begin, slots=case.slots, time=time, stop_after=most)
        ledger.close()
        return search.looked.ended(ledger.records())


def epoch_of(case: Case, params: Mapping[str, Any], epoch: int) -> Epoch:
    """What the source says of an epoch."""
    seconds = case.source.seconds(params, epoch)
    metrics = dict(case.source.report(params, case.seed, epoch))
    return Epoch(metrics | {"epoch": float(epoch), "train/seconds": seconds}, seconds)


class Asker(Protocol):
    """A search of others: it is asked for configs and told what they reported."""

    def ask(self, number: int) -> Mapping[str, Any] | None:
        """The config of trial ``number``; None: there is no other."""

    def tell(self, number: int, metrics: Mapping[str, float]) -> bool:
        """An epoch's metrics; whether the trial goes on."""


class Listed:
    """Configs of a list, each trained to its end."""

    def __init__(self, configs: Sequence[Mapping[str, Any]], most: int) -> None:
        self.configs, self._most = configs, most

    def ask(self, number: int) -> Mapping[str, Any] | None:
        """The next of the list."""
        return self.configs[number] if number < len(self.configs) else None

    def tell(self, number: int, metrics: Mapping[str, float]) -> bool:
        """Until its end."""
        return metrics["epoch"] < self._most


def of_others(make: Callable[[Case], Asker]) -> Policy:
    """A policy that is asked and told, on the same clock as ours."""

    def play(case: Case) -> Trace:
        asker, looked, records = make(case), Looked(case), list[TrialRecord]()
        running: list[tuple[float, int, Epoch]] = []
        now, most = 0.0, case.space.fidelity.max
        limit = math.inf if case.trials else max(MARKS) * most

        def train(number: int) -> None:
            record = records[number]
            epoch = epoch_of(case, record.params, record.epochs + 1)
            heapq.heappush(running, (now + epoch.seconds, number, epoch))

        while looked.reports < limit:
            while len(running) < case.slots and len(records) < (case.trials or math.inf):
                params = asker.ask(len(records))
                if params is None:
                    break
                records.append(TrialRecord("", len(records), dict(params), state="running"))
                looked.proposed(now)
                train(len(records) - 1)
            if not running:
                break
            now, number, epoch = heapq.heappop(running)
            record = records[number]
            record.reports.append(dict(epoch.metrics))
            goes_on = asker.tell(number, epoch.metrics)
            if goes_on:
                train(number)
            elif not math.isfinite(epoch.metrics[case.space.objective.score]):
                record.state, record.diverged = "failed", True
            else:
                record.state = "finished" if record.epochs == most else "stopped"
            looked.report(lambda: records, epoch.seconds)
        return looked.ended(records)

    return play


def ray(*, tpe: bool, prior_first: bool) -> Policy:
    """Ray's classes; with arms random draws."""
    return of_others(
        lambda case: RaySearch(
            case.space, case.seed, tpe=tpe and case.trials is None, prior_first=prior_first
        )
    )


def _grid(case: Case) -> Listed:
    """The published grid, within the space: `famo` on the prior's optimizer."""
    prior = case.space.prior()

    def wanted(point: Mapping[str, float]) -> dict[str, Any]:
        own = {"balancer.name": "famo", **point}
        return case.space.walk(lambda c: own.get(c.path, prior.get(c.path, c.prior)))

    return Listed([wanted(point) for point in GRID], case.space.fidelity.max)


OLD = {  # of November 2026
    "prior_share": 0.5,
    "prior_trials": 10,
    "incumbent_share": 0.0,
    "at_rungs": False,
}

#: By the name in the table.
POLICIES: dict[str, Policy] = {
    "random, full length": ours(Fifo(), Random()),
    "best 1/9 of the first rung": ours(Asha(reduction_factor=9, pilots=0), Random()),
    "Ray ASHA, random": ray(tpe=False, prior_first=False),
    "Ray ASHA, TPE": ray(tpe=True, prior_first=False),
    "Ray ASHA, TPE, prior first": ray(tpe=True, prior_first=True),
    "hyperband, TPE": ours(Hyperband(), Tpe(**OLD)),
    "grid of 12": of_others(_grid),
    "default of 2026-11": ours(Promote(pilots=0, control=0.05), Tpe(**OLD)),
    "default": ours(Promote(control=SMALL_CONTROL), Tpe()),
}
#: What looks at no config is the same policy on arms as another one, whose result it has there.
SAME_ON_ARMS = {
    "Ray ASHA, TPE": "Ray ASHA, random",
    "Ray ASHA, TPE, prior first": "Ray ASHA, random",
    "default, no incumbent": "default",
    "default, prior sampling": "default",
    "default, learns at the end": "default",
}
#: The default with one part as it was, or another one: what it is chosen from.
VARIANTS: dict[str, Policy] = {
    "default, no pilots": ours(Promote(control=SMALL_CONTROL, pilots=0), Tpe()),
    "default, no incumbent": ours(Promote(control=SMALL_CONTROL), Tpe(incumbent_share=0.0)),
    "default, learns at the end": ours(Promote(control=SMALL_CONTROL), Tpe(at_rungs=False)),
    "default, prior sampling": ours(Promote(control=SMALL_CONTROL), Tpe(prior_share=0.5)),
}
