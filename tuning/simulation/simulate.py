"""`simulate`: a whole search against a source of curves, without Ray, processes or training."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from hpcm.schema import ConfigError
from tuning.ledger.events import Closed, Opened
from tuning.ledger.ledger import Ledger
from tuning.ledger.records import SIMULATED, ExperimentInfo
from tuning.results.outcome import ExperimentResult, experiment_result
from tuning.search.decisions import Start
from tuning.search.reference_reuse import gather_references
from tuning.search.search import Search
from tuning.search.sessions import open_session, reference_metrics
from tuning.simulation.drive import Epoch, SimulatedTime, drive
from tuning.simulation.sources import Source
from tuning.spaces.space import SearchSpace


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Seconds that a slot spends on other than training."""

    start: float = 0.0  # of every start of a trial, be it new or continued
    promotion: float = 0.0  # more, of one that continues from its checkpoint
    checkpoint: float = 0.0  # of saving, at every rung and at the end

    def __post_init__(self) -> None:
        for name in ("start", "promotion", "checkpoint"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"costs: {name} is {getattr(self, name)}; must be 0 s or more")


FREE = Costs()


def simulate(
    space: SearchSpace,
    source: Source,
    *,
    slots: int,
    seed: int = 0,
    trials: int | None = None,
    costs: Costs = FREE,
    notify: Callable[[str], None] = lambda text: None,
) -> ExperimentResult:
    """Search ``space`` on ``source`` with ``slots`` trials at a time; give what was found.

    ``seed`` replaces the seeds of the searcher, of the scheduler and of the trials; ``trials`` the
    budget's. The same arguments give the same result.
    """
    space = seeded(space, seed, trials)
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / f"{space.name}-simulated"
        directory.mkdir()
        return simulate_in(
            directory, space, source, slots=slots, seed=seed, costs=costs, notify=notify
        )


def simulate_in(
    directory: Path,
    space: SearchSpace,
    source: Source,
    *,
    slots: int,
    seed: int,
    name: str = SIMULATED,
    began: float = 0.0,
    costs: Costs = FREE,
    notify: Callable[[str], None] = lambda text: None,
) -> ExperimentResult:
    """The same with the ledger in an empty folder, and the space as it is.

    ``seed``: of the trials; ``name``: of the source; ``began``: the simulated time at which it
    begins, in Unix seconds.
    """
    time = SimulatedTime(began)
    devices = space.resources.devices
    ledger = Ledger(directory, devices=devices, clock=time.clock(), durable=False)
    facts = {SIMULATED: name}
    opened = Opened(digest=space.digest, devices=devices, facts=facts, **reference_metrics(space))
    open_session(ledger, opened)
    given = gather_references(space, directory.parent, simulated=True)
    search = Search(space, ledger, lambda trial, donor, epoch: None, notify, given)
    begin = _epochs(search, source, seed, costs)
    late = drive(search, begin, slots=slots, time=time, hours=space.budget.hours)
    if late:
        search.stop_what_is_left()
    result = experiment_result(
        _info(space, directory, slots, name),
        ledger,
        budget_spent=late,
        error=search.problem,
    )
    ledger.close(Closed(result.complete, result.interrupted, result.error))
    return result


def _epochs(
    search: Search, source: Source, seed: int, costs: Costs
) -> Callable[[Start], Iterator[Epoch]]:
    """What a trial reports from its last epoch to the maximum fidelity."""
    rungs = search.space.rungs()

    def begin(start: Start) -> Iterator[Epoch]:
        record = search.ledger.trials[start.trial]
        waits = costs.start + (costs.promotion if record.epochs else 0.0)
        own = seed if start.seed is None else start.seed
        for epoch in range(record.epochs + 1, search.space.fidelity.max + 1):
            seconds = source.seconds(record.params, epoch)
            metrics = dict(source.report(record.params, own, epoch))
            timed = {"epoch": float(epoch), "train/seconds": seconds}
            saves = costs.checkpoint if epoch in rungs else 0.0
            yield Epoch(metrics | timed, waits + seconds + saves)
            waits = 0.0

    return begin


def seeded(space: SearchSpace, seed: int, trials: int | None) -> SearchSpace:
    """The space with these seeds and this budget; parts without a seed stay as they are."""
    budget = space.budget if trials is None else replace(space.budget, trials=trials)
    searcher, scheduler = _with_seed(space.searcher, seed), _with_seed(space.scheduler, seed)
    return replace(space, searcher=searcher, scheduler=scheduler, budget=budget)


def _with_seed(section: Any, seed: int) -> Any:
    drawn = any(field.name == "seed" for field in fields(section))
    return replace(section, seed=seed) if drawn else section


def _info(space: SearchSpace, directory: Path, slots: int, name: str) -> ExperimentInfo:
    device = "GPU" if space.resources.gpu else "CPU"
    return ExperimentInfo(
        name=directory.name,
        directory=directory,
        space=space,
        resumed=False,
        dashboard_url=None,
        token_hint=None,
        address=SIMULATED,
        simulated=name,
        resources={device: slots * space.resources.devices},
    )
