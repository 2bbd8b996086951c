"""`python -m tuning ablate`: do cautious Adam and FAMO pay, and at what cost?

Every optimizer with every balancer from the same weights, crops and noise, several seeds, scored
by the validation's rd_cost at equal steps and at equal wall-clock. Needs no Ray.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hpcm.schema import ConfigError, overlay
from hpcm.yaml_files import override
from tuning.ablation.report import conditions, markdown, write
from tuning.ablation.runs import (
    EPOCHS,
    SWEPT,
    Job,
    Plan,
    final_score,
    jobs_of,
    run_all,
    sweep_jobs,
    threads_of,
)
from tuning.ablation.scores import RunCurve, best_rate
from tuning.spaces.wording import ABSENT, clock_text

FOLDER = Path("results") / "ablation"
Say = Callable[[str], None]


def add_commands(commands: Any) -> None:
    """Add ``ablate`` to the subparsers of ``python -m tuning``, as ``flags.command``."""
    told = "adam and cautious_adam with sum, famo and famo_per_scale: mean, spread and rank"
    parser = commands.add_parser("ablate", help=told, description=str(__doc__).partition("\n\n")[2])
    parser.add_argument("--steps", type=int, default=200, help="optimiser steps per run (200)")
    parser.add_argument("--seeds", type=int, default=3, help="runs per arm (3)")
    parser.add_argument("--lr", type=float, help="learning rate; left out: swept on adam + sum")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, each a process (1)")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="run config")
    parser.add_argument("--name", help="of the files; left out: model and steps")
    parser.add_argument("--output", type=Path, default=FOLDER, metavar="DIR")
    parser.set_defaults(command=ablate)


def ablate(flags: argparse.Namespace, say: Say = print) -> None:
    """Run what is missing, write the record, show the tables. Raises :class:`ConfigError`."""
    settings: dict[str, Any] = {}
    for text in flags.set:
        settings = overlay(settings, override(text))
    plan = Plan(flags.steps, flags.seeds, flags.lr, settings)
    threads = threads_of(flags.jobs)
    facts = conditions(plan, flags.jobs, threads)
    name = flags.name or f"{facts['model']}-{plan.steps}-steps"
    record = _Record(flags.output / f"{name}.json", name, facts)
    lr = plan.lr if plan.lr is not None else _sweep(plan, flags.jobs, threads, record, say)
    record.lr = lr
    _run_missing("runs", jobs_of(plan, lr, threads), flags.jobs, record, say)
    record.save(complete=True)
    text = markdown(record.to_plain())
    (flags.output / f"{name}.md").write_text(text)
    say(f"\n{text}")
    say(f"written: {record.path} and {name}.md")


def _sweep(plan: Plan, processes: int, threads: int | None, record: _Record, say: Say) -> float:
    _run_missing("sweep_runs", sweep_jobs(plan, threads), processes, record, say)
    ends = {run.arm: final_score(run) for run in record.sweep_runs}
    record.sweep = {f"{lr:g}": ends[f"{lr:g}"] for lr in SWEPT}
    best = best_rate({float(rate): score for rate, score in record.sweep.items()})
    if best is None:
        raise ConfigError("every learning rate of the sweep diverged; give one with --lr")
    say(f"learning rate {best:g} for all arms")
    return best


def _run_missing(kind: str, jobs: list[Job], processes: int, record: _Record, say: Say) -> None:
    runs: list[RunCurve] = getattr(record, kind)
    place = {(job.arm, job.seed): index for index, job in enumerate(jobs)}
    done = {(run.arm, run.seed) for run in runs}
    todo = [job for job in jobs if (job.arm, job.seed) not in done]
    started = time.monotonic()
    for count, run in enumerate(run_all(todo, processes), 1):
        runs.append(run)
        runs.sort(key=lambda run: place[run.arm, run.seed])
        record.save(complete=False)
        left = (time.monotonic() - started) / count * (len(todo) - count)
        score = final_score(run)
        told = f"diverged: {run.diverged}" if run.diverged else f"rd_cost {score or 0:.4f}"
        what = f"lr {run.arm}" if kind == "sweep_runs" else f"{run.arm}, seed {run.seed}"
        clock = clock_text(left) if left else ABSENT
        say(f"{len(runs)}/{len(jobs)}  {what}: {told}, {sum(run.seconds):.0f} s; left {clock}")


class _Record:
    """The ablation on disk: whatever has run is kept, and the same command goes on from there."""

    def __init__(self, path: Path, name: str, facts: Mapping[str, Any]) -> None:
        self.path, self.name, self.facts = path, name, dict(facts)
        self.lr: float | None = None
        self.sweep: dict[str, float | None] | None = None
        self.runs: list[RunCurve] = []
        self.sweep_runs: list[RunCurve] = []
        if path.exists():
            self._continue(json.loads(path.read_text()))

    def _continue(self, old: Mapping[str, Any]) -> None:
        if old["complete"]:
            raise ConfigError(f"{self.path}: is there and complete; give another --name")
        for key in ("config_digest", "device", "processes", "threads_per_process"):
            if old["conditions"][key] != self.facts[key]:
                raise ConfigError(
                    f"{self.path}: was begun with {key} {old['conditions'][key]}, now "
                    f"{self.facts[key]}; give another --name, or delete it"
                )
        self.runs = [RunCurve.from_plain(run) for run in old["runs"]]
        self.sweep_runs = [RunCurve.from_plain(run) for run in old["sweep_runs"]]

    def save(self, *, complete: bool) -> None:
        """Write it all."""
        write(self.path, {**self.to_plain(), "complete": complete})

    def to_plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "name": self.name,
            "conditions": self.facts,
            "epochs": EPOCHS,
            "lr": self.lr,
            "sweep": self.sweep,
            "sweep_runs": [run.to_plain() for run in self.sweep_runs],
            "runs": [run.to_plain() for run in self.runs],
        }
