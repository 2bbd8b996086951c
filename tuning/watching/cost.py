"""What a search will cost: epochs from the rungs, hours from a measured epoch."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

import torch

import hpcm
from hpcm.evaluation.image_sets import image_set
from tuning.spaces.confirm_checks import most_runs
from tuning.spaces.draws import total_trials
from tuning.spaces.space import SearchSpace
from tuning.spaces.wording import hours_text


@dataclass(frozen=True)
class Cost:
    """Epochs of all trials together, and hours if an epoch's length is known."""

    likely_epochs: int  # if every rung passes on its share; with the runs that confirm
    most_epochs: int  # if nothing is stopped; with the runs that confirm
    unit: str  # "GPU" or "CPU"
    per_hour: float  # devices (or cores) that one trial holds
    full_epochs: int  # of one trial to the end
    seconds_per_epoch: float | None  # measured on this machine
    limit_clock: float | None  # hours of time after which the budget ends it
    limit_hours: float | None  # device-hours that this can be

    def lines(self) -> list[str]:
        """The cost in words, one line each."""
        likely, most = self.likely_epochs, self.most_epochs
        full = f"{likely / self.full_epochs:.1f} trials to the end"
        texts = [f"{most:,} epochs, as many as {full}"]
        if likely < most:
            texts = [f"{likely:,} epochs with early stopping, as many as {full}; {most:,} at most"]
        if self.seconds_per_epoch is not None:
            each = self.seconds_per_epoch * self.per_hour / 3600
            hours = hours_text(most * each, self.unit)
            if likely < most:
                soon = hours_text(likely * each, self.unit, larger=most * each)
                hours = f"{soon} likely, {hours} at most"
            texts.append(
                f"{hours}, from {self.seconds_per_epoch:.1f} s an epoch measured here, alone"
            )
        if self.limit_hours is not None:
            hours = hours_text(self.limit_hours, self.unit)
            texts.append(
                f"budget.hours ends it after {self.limit_clock:g} h by the clock, {hours} at most"
            )
        return texts


def estimate(space: SearchSpace, seconds_per_epoch: float | None) -> Cost:
    """The cost of ``space``; without the seconds of one epoch its hours stay open."""
    rungs, trials = space.rungs(), total_trials(space)
    references = 0 if space.objective.reference.experiment else len(space.reference_lmbdas())
    others = (most_runs(space) + references) * rungs[-1]
    per_hour = space.resources.devices
    budget = space.budget
    at_a_time = budget.concurrent or trials
    return Cost(
        likely_epochs=space.scheduler.planned_epochs(trials, rungs, space.budget.concurrent or 1)
        + others,
        most_epochs=trials * rungs[-1] + others,
        full_epochs=rungs[-1],
        unit="GPU" if space.resources.gpu else "CPU",
        per_hour=per_hour,
        seconds_per_epoch=seconds_per_epoch,
        limit_clock=budget.hours,
        limit_hours=budget.hours * at_a_time * per_hour if budget.hours else None,
    )


def can_measure(space: SearchSpace) -> bool:
    """Whether this machine has the devices that a trial asks for."""
    if space.resources.gpu:
        return torch.cuda.device_count() >= space.resources.gpu
    return space.resources.cpu <= (os.cpu_count() or 1)


def seconds_of_an_epoch(space: SearchSpace) -> float:
    """Train the prior config here for three epochs of one step; scale to its epoch. Keeps nothing.

    The first warms up, the second has no validation, the third has one. Of a trial on several GPUs
    one process is measured, with its part of a batch; what they exchange is not counted. Raises
    what :func:`hpcm.train` raises.
    """
    config = space.config(space.prior())
    crops = config.data.crops_per_epoch or image_set(config.data.train).count
    processes = space.resources.processes
    part = config.data.batch_size // processes
    few = replace(config.data, batch_size=part, crops_per_epoch=part, workers=0)
    threads = None if space.resources.gpu else max(1, int(space.resources.cpu))
    probe = replace(
        config,
        data=few,
        precision=replace(config.precision, threads=threads or config.precision.threads),
        epochs=3,
        validate_every=3,
    )
    device = "cuda" if space.resources.gpu else "cpu"
    _, step, validated = (r.metrics["train/seconds"] for r in hpcm.train(probe, device=device))
    validation = max(0.0, validated - step) / config.validate_every / processes
    return (crops // config.data.batch_size) * step + validation
