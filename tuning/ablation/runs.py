"""The trainings of an ablation: which there are, and how they run in sequence or in processes."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from typing import Any

from hpcm import Diverged, TrainConfig, train
from hpcm.schema import ConfigError, overlay, set_path
from tuning.ablation.scores import METRICS, OBJECTIVE, RunCurve

OPTIMIZERS = ("adam", "cautious_adam")
BALANCERS = ("sum", "famo", "famo_per_scale")
BASELINE = "adam + sum"
EPOCHS = 10  # that a run is cut into; each ends in a validation
SWEPT = (3e-4, 1e-3, 2e-3, 4e-3)  # learning rates that the baseline tries
SWEEP_SEED = 1000  # of no arm's run
BASE: dict[str, Any] = {
    "model": {"name": "hpcm_tiny"},
    "data": {
        "train": "sample",
        "val": "sample_val",
        "batch_size": 4,
        "workers": 0,
        "cache": True,
    },
    # Constant: a run that is read before its end has not yet had a falling rate's best part.
    "lr_schedule": {"name": "constant"},
}


@dataclass(frozen=True)
class Plan:
    """What is compared: every optimizer with every balancer, at one learning rate, over seeds.

    Raises :class:`ConfigError` for numbers or settings that cannot be.
    """

    steps: int
    seeds: int
    lr: float | None = None  # None: the best of a sweep
    settings: Mapping[str, Any] = field(default_factory=dict)  # laid over BASE

    def __post_init__(self) -> None:
        if self.steps < EPOCHS or self.steps % EPOCHS:
            raise ConfigError(f"--steps {self.steps}: must be a multiple of {EPOCHS}")
        if self.seeds < 1:
            raise ConfigError(f"--seeds {self.seeds}: must be 1 or more")
        if self.lr is not None and not self.lr > 0:
            raise ConfigError(f"--lr {self.lr}: must be above 0")
        for section in ("optimizer", "balancer", "seed", "epochs", "schedule_horizon"):
            if section in self.settings:
                raise ConfigError(f"--set {section}: the ablation sets it itself")
        self.config(BASELINE, 0, 1e-3)

    @property
    def arms(self) -> tuple[str, ...]:
        """Names of the arms, the baseline first."""
        return tuple(f"{one} + {other}" for one in OPTIMIZERS for other in BALANCERS)

    def config(self, arm: str, seed: int, lr: float, threads: int | None = None) -> TrainConfig:
        """The run config of one training. Raises :class:`ConfigError`."""
        optimizer, balancer = arm.split(" + ")
        plain = overlay(BASE, self.settings)
        crops = self.steps // EPOCHS * int(plain["data"]["batch_size"])
        own = {
            "data.crops_per_epoch": crops,
            "epochs": EPOCHS,
            "schedule_horizon": EPOCHS,
            "seed": seed,
            "precision.threads": threads,
        }
        for path, value in own.items():
            nested: dict[str, Any] = {}
            set_path(nested, path, value)
            plain = overlay(plain, nested)
        plain["optimizer"] = {"name": optimizer, "lr": lr}
        plain["balancer"] = {"name": balancer}
        return TrainConfig.from_plain(plain, "ablate")

    @property
    def digest(self) -> str:
        """12 hex digits over all that decides the numbers."""
        configs = [self.config(arm, 0, self.lr or 1.0).digest for arm in self.arms]
        text = json.dumps([configs, self.steps, self.seeds, self.lr or SWEPT])
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Job:
    """One training to do."""

    arm: str
    seed: int
    config: Mapping[str, Any]


def jobs_of(plan: Plan, lr: float, threads: int | None) -> list[Job]:
    """All arms' runs, seed after seed: a machine that slows down slows every arm alike."""
    return [
        Job(arm, seed, plan.config(arm, seed, lr, threads).to_plain())
        for seed in range(plan.seeds)
        for arm in plan.arms
    ]


def sweep_jobs(plan: Plan, threads: int | None) -> list[Job]:
    """The baseline at each learning rate of the sweep; the arm says the rate."""
    return [
        Job(f"{lr:g}", SWEEP_SEED, plan.config(BASELINE, SWEEP_SEED, lr, threads).to_plain())
        for lr in SWEPT
    ]


def run_job(job: Job) -> RunCurve:
    """Train once and keep what the scores are made of; a divergence is a result."""
    config = TrainConfig.from_plain(dict(job.config), "ablate")
    seconds: list[float] = []
    metrics: dict[str, list[float]] = {name: [] for name in METRICS}
    diverged = None
    try:
        for report in train(config):
            seconds.append(report.metrics["train/seconds"])
            for name, values in metrics.items():
                values.append(report.metrics[name])
    except Diverged as error:
        diverged = error.reason
    found = {name: tuple(values) for name, values in metrics.items()}
    return RunCurve(job.arm, job.seed, config.digest, tuple(seconds), found, diverged)


def run_all(jobs: Sequence[Job], processes: int) -> Iterator[RunCurve]:
    """Do the jobs, yielding each run as it ends; with ``processes`` above 1, so many at a time."""
    if processes == 1:
        yield from map(run_job, jobs)
        return
    context = multiprocessing.get_context("spawn")  # a fork would inherit torch's threads
    with ProcessPoolExecutor(processes, context, initializer=end_with_parent) as pool:
        for future in as_completed([pool.submit(run_job, job) for job in jobs]):
            yield future.result()


def end_with_parent() -> None:
    """End this worker when its parent is gone, however it was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "not a worker"

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def threads_of(processes: int) -> int | None:
    """Cores to each process, so that they do not wait for one another; None leaves torch's choice.

    Raises :class:`ConfigError` for a number of processes that cannot be.
    """
    if processes < 1:
        raise ConfigError(f"--jobs {processes}: must be 1 or more")
    return None if processes == 1 else max(1, (os.cpu_count() or 1) // processes)


def final_score(run: RunCurve) -> float | None:
    """The objective at the end of a run; None where it diverged."""
    return run.at(OBJECTIVE, EPOCHS)
