"""`simulate`: a whole search against a source of curves, without Ray, processes or training."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from tuning.ledger.events import Closed, Opened
from tuning.ledger.ledger import Ledger
from tuning.ledger.records import ExperimentInfo
from tuning.results.outcome import ExperimentResult, experiment_result
from tuning.search.decisions import Start
from tuning.search.search import Search
from tuning.search.sessions import open_session, reference_metrics
from tuning.simulation.drive import Epoch, SimulatedTime, drive
from tuning.spaces.space import SearchSpace

SIMULATED = "simulated"  # what an experiment has as its address


class Source(Protocol):
    """Where simulated trials get their numbers from."""

    def report(self, params: Mapping[str, Any], seed: int, epoch: int) -> Mapping[str, float]:
        """The metrics of one epoch: the objective's, ``val_bpp`` and whatever a real report has.

        A number that is not finite is a trial that diverged. With `delta_rate` the metrics of
        `SearchSpace.compared` are needed, and a reference run's ``params`` are paths of config
        fields, ``loss.lmbda`` among them.
        """

    def seconds(self, params: Mapping[str, Any], epoch: int) -> float:
        """What the epoch costs, in seconds of one slot."""


def simulate(
    space: SearchSpace,
    source: Source,
    *,
    slots: int,
    seed: int = 0,
    trials: int | None = None,
    start_seconds: float = 0.0,
    notify: Callable[[str], None] = lambda text: None,
) -> ExperimentResult:
    """Search ``space`` on ``source`` with ``slots`` trials at a time; give what was found.

    ``seed`` replaces the seeds of the searcher, of the scheduler and of the trials; ``trials`` the
    budget's. Each start of a trial, be it new or promoted, takes ``start_seconds``. The same
    arguments give the same result.
    """
    space = _seeded(space, seed, trials)
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / f"{space.name}-simulated"
        directory.mkdir()
        time = SimulatedTime()
        ledger = Ledger(
            directory, devices=space.resources.devices, clock=time.clock(), durable=False
        )
        devices = space.resources.devices
        opened = Opened(digest=space.digest, devices=devices, **reference_metrics(space))
        open_session(ledger, opened)
        search = Search(space, ledger, copy=lambda trial, donor, epoch: None, notify=notify)
        begin = _epochs(search, source, seed, start_seconds)
        late = drive(search, begin, slots=slots, time=time, hours=space.budget.hours)
        if late:
            search.stop_what_is_left()
        result = experiment_result(
            _info(space, directory, slots),
            ledger.records(),
            ledger.confirmations(),
            ledger.reference_runs(),
            budget_spent=late,
            error=search.problem,
        )
        ledger.close(Closed(result.complete, result.interrupted, result.error))
        return result


def _epochs(
    search: Search, source: Source, seed: int, start_seconds: float
) -> Callable[[Start], Iterator[Epoch]]:
    """What a trial reports from where it was left to the maximum fidelity."""

    def begin(start: Start) -> Iterator[Epoch]:
        record, waits = search.ledger.trials[start.trial], start_seconds
        own = seed if start.seed is None else start.seed
        for epoch in range(record.epochs + 1, search.space.fidelity.max + 1):
            seconds = source.seconds(record.params, epoch)
            metrics = dict(source.report(record.params, own, epoch))
            timed = {"epoch": float(epoch), "train/seconds": seconds}
            yield Epoch(metrics | timed, waits + seconds)
            waits = 0.0

    return begin


def _seeded(space: SearchSpace, seed: int, trials: int | None) -> SearchSpace:
    """The space with these seeds and this budget; parts without a seed stay as they are."""
    budget = space.budget if trials is None else replace(space.budget, trials=trials)
    searcher, scheduler = _with_seed(space.searcher, seed), _with_seed(space.scheduler, seed)
    return replace(space, searcher=searcher, scheduler=scheduler, budget=budget)


def _with_seed(section: Any, seed: int) -> Any:
    return replace(section, seed=seed) if hasattr(section, "seed") else section


def _info(space: SearchSpace, directory: Path, slots: int) -> ExperimentInfo:
    device = "GPU" if space.resources.gpu else "CPU"
    return ExperimentInfo(
        name=directory.name,
        directory=directory,
        space=space,
        resumed=False,
        dashboard_url=None,
        token_hint=None,
        address=SIMULATED,
        resources={device: slots * space.resources.devices},
    )
