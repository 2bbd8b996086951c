"""Which search policy finds the best config for the fewest epochs, by replay on several sources.

    python -m benchmarks search_policy --curves curves.npz
    python -m benchmarks search_policy --quick

Every policy searches every source on the same simulated clock: made-up families of curves (a new
landscape for each seed), recorded curves of other people's workloads (`--curves`, in a new order
for each), and finished experiments (`--experiment`). Regret is that of the trial that a search
would name when 2, 4, .. 32 full runs' worth of epochs are spent: percent of rate at equal quality
above the best config (families, capped at 15), or the percentage of all arms that end better
(recorded). A recorded workload is searched until each of its arms was tried; it is *lost* if none
of the best 3 % of them came to its end.

Apart from that the published grid's 12 configs (and 12 arms of each workload) are searched by our
rungs and at full length: epochs spent, and whether the answer is that of full length.

Each search that is over is a line of `--rows`; what is there is not played again, so that a run may
be cut and continued.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.policy_grid import GRID_POLICIES, grid_result, grid_rows
from benchmarks.policy_runs import (
    MARKS,
    POLICIES,
    SAME_ON_ARMS,
    VARIANTS,
    Case,
    Policy,
    Trace,
)
from benchmarks.policy_tables import tables
from benchmarks.record import commit, write_record
from tuning.simulation.arms import Arms, read_curves
from tuning.simulation.family import PRESETS, Family
from tuning.simulation.recorded import Recorded
from tuning.spaces.loading import load_space
from tuning.spaces.space import SearchSpace

#: The rate at equal quality is not needed where all configs sit at one point of the curve.
OVERRIDES = (
    "fidelity.min=1",
    "fidelity.max=9",
    "objective.metric=val_rd_cost",
    "confirm.top=0",
)
MOST_REGRET = 15.0
BEST_SHARE = 0.03  # of the arms
QUICK = ("good", "misleading")


@dataclass(frozen=True)
class Job:
    """One source with one seed, and how many trials at a time."""

    source: str
    group: str
    seed: int
    slots: int
    curves: str | None = None
    experiment: str | None = None

    @property
    def same(self) -> dict[str, str]:
        """Policies that do here what another one does, which is played instead."""
        return SAME_ON_ARMS if self.curves is not None else {}


class Rows:
    """Searches that are over, by source, seed, slots and policy, in a file that outlives a run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        text = path.read_text() if path.exists() else ""
        whole = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(whole))  # without a line that was cut
        self.found = {_key(row, row["policy"]): row for row in map(json.loads, whole)}
        self._commit = commit()

    def play(self, job: Job, policy: str) -> dict[str, Any]:
        """The row of a search; it is played if it is not known."""
        key = _key(vars(job), policy)
        if key not in self.found:
            began = time.process_time()
            result = play(job, policy)
            seconds = round(time.process_time() - began, 2)
            made = {"policy": policy, "slots": job.slots, "cpu": seconds, "commit": self._commit}
            with self.path.open("a") as file:
                file.write(json.dumps(result | made) + "\n")
            self.found[key] = result | made
        return self.found[key]


def _key(of: Mapping[str, Any], policy: str) -> tuple[Any, ...]:
    return of["source"], of["group"], of["seed"], of["slots"], policy


def play(job: Job, policy: str) -> dict[str, Any]:
    """What one policy comes to."""
    if policy in GRID_POLICIES:
        curves = None if job.curves is None else _curves(job.curves)[job.source]
        family = None if curves is not None else _family(job, _space())
        return _named(job) | grid_result(_space(), family, curves, policy, job.seed)
    return _result(job, {**POLICIES, **VARIANTS}[policy])


@cache
def _space() -> SearchSpace:
    """Read once: half a second, as long as a search."""
    return load_space("phase3", overrides=OVERRIDES)


@cache
def _curves(file: str) -> dict[str, dict[str, NDArray[np.float32]]]:
    return read_curves(Path(file))


def _result(job: Job, policy: Policy) -> dict[str, Any]:
    space = _space()
    source: Family | Arms | Recorded
    if job.curves is not None:
        curves = _curves(job.curves)[job.source]
        source = Arms(space, curves, order=job.seed)
        trace = policy(Case(space, source, job.slots, job.seed, trials=len(curves)))
        regret = {m: 100 * source.worse_than(params) for m, params in trace.named.items()}
        return _plain(job, trace, regret, _lost(source, trace))
    if job.experiment is not None:
        space, source = _of_experiment(job.experiment)
        trace = policy(Case(space, source, job.slots, job.seed))
        return _plain(job, trace, {m: _excess(source, space, p) for m, p in trace.named.items()})
    source = _family(job, space)
    trace = policy(Case(space, source, job.slots, job.seed))
    regret = {m: min(MOST_REGRET, source.excess(params)) for m, params in trace.named.items()}
    return _plain(job, trace, regret)


def _family(job: Job, space: SearchSpace) -> Family:
    return Family(space, replace(PRESETS[job.source], moves=0.0), landscape=job.seed)


def _named(job: Job) -> dict[str, Any]:
    return {"source": job.source, "group": job.group, "seed": job.seed}


def _plain(
    job: Job, trace: Trace, regret: Mapping[int, float], lost: bool | None = None
) -> dict[str, Any]:
    return _named(job) | {
        "regret": {str(mark): round(regret[mark], 4) for mark in MARKS},
        "lost": lost,
        "spent": round(trace.spent, 2),
        "used": round(trace.used, 4),
    }


def _lost(source: Arms, trace: Trace) -> bool:
    """Whether none of the best arms came to its end."""
    best = math.ceil(BEST_SHARE * len(source.keys))
    return not any(source.worse_than(params) * len(source.keys) < best for params in trace.whole)


def _of_experiment(folder: str) -> tuple[SearchSpace, Recorded]:
    from tuning.ledger.folders import read_experiment

    space = read_experiment(Path(folder))
    return space, Recorded.from_folder(folder, space)


def _excess(source: Recorded, space: SearchSpace, params: Mapping[str, Any]) -> float:
    """Percent that a config's end is worse than the best recorded one."""
    score = space.objective.score
    ends = [t.last[score] for t in source.trials if t.epochs == space.fidelity.max]
    own = source.report(params, 0, space.fidelity.max)[score]
    return 100 * abs(own - min(ends)) / max(abs(min(ends)), 1e-12)


def jobs(options: argparse.Namespace) -> Iterator[Job]:
    """All sources in turn, so that what was played when time is up is balanced."""
    slots = options.slots
    workloads = sorted(read_curves(Path(options.curves))) if options.curves else []
    recorded = [
        Job(workload, "recorded", order, slots, options.curves)
        for order in range(options.orders)
        for workload in workloads
    ]
    at_once = -(-len(recorded) // max(1, options.seeds))
    for seed in range(options.seeds):
        for name in options.families:
            yield Job(name, name, seed, slots)
        for folder in options.experiment:
            yield Job(Path(folder).name, "experiment", seed, slots, None, folder)
        yield from recorded[seed * at_once : (seed + 1) * at_once]


def main(arguments: Sequence[str]) -> None:
    """Play, print and record."""
    options = _options(arguments)
    todo, rows = list(jobs(options)), Rows(Path(options.rows))
    names = [*options.policies, *GRID_POLICIES]
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    until = time.monotonic() + 60 * options.minutes
    for done, job in enumerate(todo, start=1):
        for name in names:
            if not (name in GRID_POLICIES and job.experiment):
                found[name].append(rows.play(job, job.same.get(name, name)))
        if done % 10 == 0:
            print(f"{done} of {len(todo)} sources and seeds", flush=True)
        if time.monotonic() > until:
            print(f"the minutes are over after {done} of {len(todo)}")
            break
    grid = {name: found.pop(name) for name in GRID_POLICIES}
    numbers = tables(found) | {"same_grid": grid_rows(grid)}
    shown = {k: v for k, v in vars(options).items() if v != math.inf and k != "rows"}
    shown["curves"] = Path(options.curves).name if options.curves else None
    played = [row for of in (*found.values(), *grid.values()) for row in of]
    cost = {"cpu_seconds": round(sum(row["cpu"] for row in played), 1)}
    made = {"commits": sorted({row["commit"] for row in played})}
    searches = {name: [_short(row) for row in of] for name, of in (found | grid).items()}
    record = {"options": shown, **made, **cost, **numbers, "searches": searches}
    write_record(options.name, "cpu", record)


def _short(row: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in row.items() if k not in ("policy", "slots", "cpu", "commit")}


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks search_policy", description=(__doc__ or "").partition("\n")[0]
    )
    every = [*POLICIES, *VARIANTS]
    parser.add_argument("--families", nargs="*", default=list(PRESETS), choices=list(PRESETS))
    parser.add_argument("--seeds", type=int, default=20, help="landscapes of a family")
    parser.add_argument("--orders", type=int, default=2, help="orders of a workload's arms")
    parser.add_argument("--slots", type=int, default=8, help="trials at a time")
    parser.add_argument("--curves", metavar="FILE", help="recorded curves, NAME.npz")
    parser.add_argument("--experiment", metavar="DIR", nargs="*", default=[])
    parser.add_argument("--policies", metavar="NAME", nargs="+", default=every, choices=every)
    parser.add_argument("--rows", metavar="FILE", default="runs/search_policy.jsonl")
    parser.add_argument("--minutes", type=float, default=math.inf, help="then no more is played")
    parser.add_argument("--quick", action="store_true", help="two families, three seeds")
    parser.add_argument("--name", default="search_policy", help="of the record")
    options = parser.parse_args(list(arguments))
    if options.quick:
        options.seeds, options.families = min(options.seeds, 3), list(QUICK)
    return options
