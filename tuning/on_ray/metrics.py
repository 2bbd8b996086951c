"""The search as metrics for Prometheus, through Ray's endpoint; docs/watching.md lists them.

Ray exports them as ``ray_<name>`` from the node of the driver. A gauge that is not set again is
gone from the endpoint after two of Ray's export intervals (20 s): a trial's series end when it no
longer runs, and all of them when the search ends. At a time there are the series of the search and
those of at most :data:`MOST_TRIALS` running trials, however many trials the search has.
"""

from __future__ import annotations

import math
import time
from collections import Counter as Tally
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ray import tune
from ray.util.metrics import Counter, Gauge

from tuning.ledger.failures import KINDS, REFUSED
from tuning.ledger.ledger import Ledger
from tuning.ledger.records import TrialRecord
from tuning.results.outcome import at_common_epoch, best_of
from tuning.results.rank_fidelity import RungPair, rank_fidelity
from tuning.spaces.draws import total_trials
from tuning.spaces.space import SearchSpace

EVERY = 4.0  # seconds between two tellings: Ray exports every ten
MOST_TRIALS = 200  # running trials with series of their own, the oldest first
STATES = ("running", "waiting", "pending", "finished", "stopped", "failed")
FAILURE_CLASSES = ("diverged", "refused", *KINDS)
Tags = Mapping[str, str]


@dataclass(frozen=True)
class Metric:
    """One metric: its description, and its tags besides ``experiment``."""

    kind: Literal["gauge", "counter"]
    text: str
    tags: tuple[str, ...] = ()


METRICS: dict[str, Metric] = {
    "hpcm_trials": Metric("gauge", "trials by state; pending ones are the queue", ("state",)),
    "hpcm_trials_budget": Metric("gauge", "trials that the budget allows"),
    "hpcm_confirm_runs": Metric("gauge", "runs on fresh seeds by state", ("state",)),
    "hpcm_slots": Metric("gauge", "trials that run at a time if there are enough"),
    "hpcm_best_objective": Metric("gauge", "the best trial's objective, at its last validation"),
    "hpcm_prior_objective": Metric("gauge", "the prior's objective at the best trial's epoch"),
    "hpcm_hours": Metric("gauge", "GPU-hours of training (CPU-hours without GPUs)", ("device",)),
    "hpcm_rung_trials": Metric("gauge", "trials that reached a rung, wait there, were stopped "
                               "there", ("epoch", "fate")),
    "hpcm_rung_tau": Metric("gauge", "Kendall's tau-b of a rung with a later one or the end, once "
                            "it is known", ("epoch", "to")),
    "hpcm_rung_losers": Metric("gauge", "trials that lost at a rung and were watched up to a later "
                               "one", ("epoch", "to")),
    "hpcm_failures": Metric("gauge", "failed trials by class", ("class",)),
    "hpcm_report_age_seconds": Metric("gauge", "time since any trial reported or changed"),
    "hpcm_epochs": Metric("counter", "epochs reported since the driver started"),
    "hpcm_restarts": Metric("counter", "trials started again since the driver started"),
    "hpcm_trial_objective": Metric("gauge", "a running trial's objective", ("trial",)),
    "hpcm_trial_bpp": Metric("gauge", "its bits per pixel, validation", ("trial",)),
    "hpcm_trial_psnr": Metric("gauge", "its PSNR in dB, validation", ("trial",)),
    "hpcm_trial_epoch": Metric("gauge", "its last epoch", ("trial",)),
    "hpcm_trial_epoch_seconds": Metric("gauge", "seconds of its last epoch", ("trial",)),
    "hpcm_trial_task_weight": Metric("gauge", "effective weight of a task", ("trial", "task")),
    "hpcm_trial_gamma": Metric("gauge", "decay of the weight logits", ("trial", "scale")),
}  # fmt: skip
#: Which metric takes which value of a report; a group is the first part of a value's name.
OF_A_REPORT = {
    "val_bpp": "hpcm_trial_bpp",
    "val_psnr": "hpcm_trial_psnr",
    "epoch": "hpcm_trial_epoch",
    "train/seconds": "hpcm_trial_epoch_seconds",
}
OF_A_GROUP = {"weights": ("hpcm_trial_task_weight", "task"), "gamma": ("hpcm_trial_gamma", "scale")}


@dataclass(frozen=True)
class Value:
    """One series and its value."""

    name: str
    value: float
    tags: Tags


class SearchMetrics(tune.Callback):
    """Tells Ray's metrics how the search stands, every few seconds, from the driver's thread.

    ``slots``: trials that the driver runs at a time.
    """

    def __init__(self, ledger: Ledger, space: SearchSpace, slots: int) -> None:
        self._ledger, self._space, self._slots = ledger, space, slots
        self._next = 0.0
        self._count, self._changed = -1, time.monotonic()
        self._counted = counted(ledger.trials.values())  # earlier sessions have reported these
        self._series = {name: _series(name, metric) for name, metric in METRICS.items()}

    def on_step_end(self, iteration: int, trials: Any, **info: Any) -> None:
        """Ray calls it after every event, and ten times a second if nothing happens."""
        now = time.monotonic()
        if self._ledger.count != self._count:
            self._count, self._changed = self._ledger.count, now
        if now >= self._next:
            self._next = now + EVERY
            self.tell(now - self._changed)

    def tell(self, age: float) -> None:
        """Set every gauge and move the counters on; ``age``: seconds since anything happened."""
        records, runs = self._ledger.records(), self._ledger.confirmations()
        every = [*records, *runs]
        values = [
            *search_values(records, self._space),
            *confirm_values(runs),
            *trial_values(every, self._space),
            *cost_values(every, self._space),
            *fidelity_values(rank_fidelity(records, self._ledger.rungs, self._space)),
        ]
        self._slots = max(self._slots, sum(r.state == "running" for r in every))  # nodes may join
        values.append(Value("hpcm_slots", self._slots, {}))
        values.append(Value("hpcm_report_age_seconds", age, {}))
        experiment = {"experiment": self._ledger.experiment}
        for one in values:
            if math.isfinite(one.value):
                self._series[one.name].set(float(one.value), {**experiment, **one.tags})
        for name, now in counted(every).items():
            if now > self._counted[name]:
                self._series[name].inc(now - self._counted[name], experiment)
                self._counted[name] = now

    def __reduce__(self) -> Any:
        """Ray's snapshot of the experiment, which we never read, gets none of this."""
        return tune.Callback, ()


def search_values(records: list[TrialRecord], space: SearchSpace) -> Iterator[Value]:
    """The series of the whole search."""
    states = Tally(r.status for r in records)
    for state in STATES:
        yield Value("hpcm_trials", states[state], {"state": state})
    yield Value("hpcm_trials_budget", total_trials(space), {})
    failures = Tally(failure_class(r) for r in records if r.state == "failed")
    for kind in FAILURE_CLASSES:  # all of them: an alert needs the 0 before the first
        yield Value("hpcm_failures", failures[kind], {"class": kind})
    for level in space.rungs()[:-1]:
        for fate, count in _occupancy(records, level).items():
            yield Value("hpcm_rung_trials", count, {"epoch": str(level), "fate": fate})
    yield from _state_values(records, space)


def confirm_values(runs: list[TrialRecord]) -> Iterator[Value]:
    """The finalists' runs on fresh seeds by state; nothing before there is one."""
    for state, count in Tally(run.state for run in runs).items():
        yield Value("hpcm_confirm_runs", count, {"state": state})


def fidelity_values(pairs: list[RungPair]) -> Iterator[Value]:
    """How well each rung foretells the later ones, and by how many losers that is known."""
    for pair in pairs:
        tags = {"epoch": str(pair.rung), "to": str(pair.to)}
        yield Value("hpcm_rung_losers", len(pair.losers), tags)
        if pair.known and pair.tau is not None:
            yield Value("hpcm_rung_tau", pair.tau, tags)


def cost_values(records: list[TrialRecord], space: SearchSpace) -> Iterator[Value]:
    """What was spent on all of them."""
    device = "gpu" if space.resources.gpu else "cpu"
    yield Value("hpcm_hours", sum(r.cost_hours for r in records), {"device": device})


def trial_values(records: list[TrialRecord], space: SearchSpace) -> Iterator[Value]:
    """The series of the running trials that have reported."""
    running = [r for r in records if r.state == "running" and r.reports]
    for record in running[:MOST_TRIALS]:
        tags = {"trial": space.trial_name(record.number)}
        last = record.last
        if space.objective.score in last:
            yield Value("hpcm_trial_objective", last[space.objective.score], tags)
        for key, value in last.items():
            group, _, part = key.partition("/")
            if key in OF_A_REPORT:
                yield Value(OF_A_REPORT[key], value, tags)
            elif group in OF_A_GROUP:
                name, tag = OF_A_GROUP[group]
                yield Value(name, value, {**tags, tag: part})


def counted(records: Iterable[TrialRecord]) -> dict[str, float]:
    """What only grows, over all sessions."""
    pairs = [(record.epochs, record.retries) for record in records]
    return {"hpcm_epochs": sum(e for e, _ in pairs), "hpcm_restarts": sum(r for _, r in pairs)}


def failure_class(record: TrialRecord) -> str:
    """Why a failed trial failed: one of :data:`FAILURE_CLASSES`, by what the ledger says of it."""
    if record.diverged:
        return "diverged"
    if record.kind is None and (record.reason or "").startswith(REFUSED):
        return "refused"
    return record.kind if record.kind in KINDS else "exception"


def _occupancy(records: list[TrialRecord], level: int) -> dict[str, int]:
    return {
        "reached": sum(r.epochs >= level for r in records),
        "waiting": sum(r.paused and r.epochs == level for r in records),
        "stopped": sum(r.rung_stopped_at == level for r in records),
    }


def _state_values(records: list[TrialRecord], space: SearchSpace) -> Iterator[Value]:
    best = best_of(records, space)
    if best is None:
        return
    metric = space.objective.score
    shown, its = at_common_epoch(best, next((r for r in records if r.is_prior), None), metric)
    yield Value("hpcm_best_objective", shown[metric], {})
    if metric in its:
        yield Value("hpcm_prior_objective", its[metric], {})


def _series(name: str, metric: Metric) -> Any:
    make = Gauge if metric.kind == "gauge" else Counter
    return make(name, description=metric.text, tag_keys=("experiment", *metric.tags))
