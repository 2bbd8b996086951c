"""Recorded learning curves to scores: at equal steps and at equal wall-clock, paired by seed.

All of it works on numbers that a run left behind; nothing here trains.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

OBJECTIVE = "val_rd_cost"
METRICS = (OBJECTIVE, "val_bpp", "val_psnr")


@dataclass(frozen=True)
class RunCurve:
    """One training as recorded: a value per epoch, and why it ended early where it did."""

    arm: str
    seed: int
    digest: str  # of its run config
    seconds: tuple[float, ...]  # per epoch, its validation included
    metrics: Mapping[str, tuple[float, ...]]  # per epoch
    diverged: str | None = None

    def at(self, metric: str, epochs: float) -> float | None:
        """The metric after so many epochs, linear between two validations.

        None where the run diverged or was not that long, or before its first validation.
        """
        values = self.metrics.get(metric, ())
        if self.diverged or not 1 <= epochs <= len(values):
            return None
        low = math.floor(epochs)
        high = min(low + 1, len(values))
        share = epochs - low
        return values[low - 1] * (1 - share) + values[high - 1] * share

    def to_plain(self) -> dict[str, Any]:
        """As JSON has it."""
        metrics = {name: list(values) for name, values in self.metrics.items()}
        return {**vars(self), "seconds": list(self.seconds), "metrics": metrics}

    @classmethod
    def from_plain(cls, data: Mapping[str, Any]) -> RunCurve:
        """The inverse of :meth:`to_plain`."""
        metrics = {name: tuple(values) for name, values in data["metrics"].items()}
        return cls(**{**data, "seconds": tuple(data["seconds"]), "metrics": metrics})


@dataclass(frozen=True)
class Row:
    """One arm's scores over the seeds, and beside the baseline's of the same seeds."""

    arm: str
    rank: int  # 1 is the lowest mean; arms without one come last
    epochs: float  # that each of its runs was given
    scores: tuple[float | None, ...]  # objective per seed, in the seeds' order
    mean: float | None  # None where a seed has no score
    sd: float | None  # over the seeds, n - 1
    gains: tuple[float, ...]  # objective minus the baseline's at the same seed; negative is better
    bpp: float | None  # mean over the seeds
    psnr: float | None

    @property
    def range(self) -> tuple[float, float] | None:
        """Lowest and highest score."""
        known = [score for score in self.scores if score is not None]
        return (min(known), max(known)) if known else None

    @property
    def gain(self) -> float | None:
        """Mean of the paired differences."""
        return statistics.fmean(self.gains) if self.gains else None

    @property
    def gain_sd(self) -> float | None:
        """Standard deviation of the paired differences, n - 1."""
        return spread(self.gains)


def equal_steps(runs: Sequence[RunCurve], epochs: int) -> dict[str, float]:
    """Epochs that each arm is given when steps are what is equal: all of them."""
    return {run.arm: float(epochs) for run in runs}


def equal_wall_clock(runs: Sequence[RunCurve], epochs: int) -> dict[str, float]:
    """Epochs that each arm has done when the cheapest arm finishes.

    An arm's time per epoch is the median over all its epochs and seeds, so that one epoch in which
    the machine was busy does not decide.
    """
    cost = {arm: epoch_seconds(own) for arm, own in by_arm(runs).items()}
    known = [seconds for seconds in cost.values() if seconds]
    return {arm: epochs * min(known) / s if s else float(epochs) for arm, s in cost.items()}


def epoch_seconds(runs: Sequence[RunCurve]) -> float | None:
    """Median wall-clock of an epoch; None without one."""
    every = [seconds for run in runs for seconds in run.seconds]
    return statistics.median(every) if every else None


def rows(runs: Sequence[RunCurve], epochs: Mapping[str, float], baseline: str) -> list[Row]:
    """All arms from best to worst, each scored after its own number of epochs."""
    arms = by_arm(runs)
    scores = {arm: _scores(own, OBJECTIVE, epochs[arm]) for arm, own in arms.items()}
    means = {arm: _mean(list(own.values())) for arm, own in scores.items()}
    sortable = {arm: math.inf if mean is None else mean for arm, mean in means.items()}
    order = sorted(arms, key=sortable.__getitem__)
    return [
        Row(
            arm=arm,
            rank=rank,
            epochs=epochs[arm],
            scores=tuple(scores[arm].values()),
            mean=means[arm],
            sd=spread([score for score in scores[arm].values() if score is not None]),
            gains=_paired(scores[arm], scores.get(baseline, {})) if arm != baseline else (),
            bpp=_mean(list(_scores(arms[arm], "val_bpp", epochs[arm]).values())),
            psnr=_mean(list(_scores(arms[arm], "val_psnr", epochs[arm]).values())),
        )
        for rank, arm in enumerate(order, 1)
    ]


def by_arm(runs: Sequence[RunCurve]) -> dict[str, list[RunCurve]]:
    """Runs of each arm in the order of their seeds; arms in the order of their first run."""
    arms: dict[str, list[RunCurve]] = {run.arm: [] for run in runs}
    for run in sorted(runs, key=lambda run: run.seed):
        arms[run.arm].append(run)
    return arms


def best_rate(sweep: Mapping[float, float | None]) -> float | None:
    """The learning rate with the lowest objective; None where every one diverged."""
    known = {rate: score for rate, score in sweep.items() if score is not None}
    return min(known, key=lambda rate: known[rate]) if known else None


def spread(values: Sequence[float]) -> float | None:
    """Standard deviation with n - 1; None for fewer than two values."""
    return statistics.stdev(values) if len(values) > 1 else None


def _scores(runs: Sequence[RunCurve], metric: str, epochs: float) -> dict[int, float | None]:
    return {run.seed: run.at(metric, epochs) for run in runs}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known and len(known) == len(values) else None


def _paired(
    own: Mapping[int, float | None], other: Mapping[int, float | None]
) -> tuple[float, ...]:
    pairs = [(score, other.get(seed)) for seed, score in own.items()]
    return tuple(a - b for a, b in pairs if a is not None and b is not None)
