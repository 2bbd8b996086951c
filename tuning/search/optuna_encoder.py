"""Trials as an Optuna study: the evidence that a sampler sees, and the copy for people.

Two studies, both made from the ledger's records. The *evidence* is built anew for each proposal, in
memory, so that a proposal depends only on the records, not on how often the driver was restarted.
The *copy* is for people: :mod:`tuning.watching.study_copy`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Self, cast

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, NSGAIISampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from tuning.ledger.records import TrialRecord
from tuning.results.constraints import violations
from tuning.spaces.coordinates import Coordinate
from tuning.spaces.sections import LARGER_IS_BETTER
from tuning.spaces.space import SearchSpace
from tuning.spaces.wording import UNITS, metric_name

NUMBER = "trial"  # user attribute: our number of the trial

optuna.logging.set_verbosity(optuna.logging.WARNING)


def distribution(coordinate: Coordinate) -> BaseDistribution:
    """Optuna's distribution of a coordinate."""
    match coordinate.type:
        case "float":
            return FloatDistribution(coordinate.low, coordinate.high, log=coordinate.log)
        case "int":
            return IntDistribution(coordinate.low, coordinate.high, log=coordinate.log)
        case "categorical":
            return CategoricalDistribution(coordinate.choices)


class Held(FrozenTrial):
    """A trial that a study takes as it is (Optuna copies others), with what TPE reads of it.

    ``row``: the values of all coordinates as Optuna has them internally, NaN if inactive.
    ``active``: the coordinates that it has. ``sign``: 1 if a lower value is better, else -1.
    """

    row: tuple[float, ...]
    active: tuple[str, ...]
    sign: float

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    @cached_property
    def rank(self) -> tuple[int, float, float]:
        """What sorts results by one value, the best first: whole ones, then those that went on.

        Those that miss a constraint come last, by how much. Not for running trials.
        """
        missed = sum(value for value in self.constraints.values() if value > 0)
        if missed > 0:
            return 2, missed, 0.0
        if self.state == TrialState.COMPLETE:
            return 0, self.sign * cast(float, self.value), 0.0
        if not self.intermediate_values:
            return 1, 1.0, 0.0
        epoch, value = max(self.intermediate_values.items())
        return 1, -float(epoch), self.sign * value


class OptunaEncoder:
    """A record for Optuna: state, values and the whole curve, in the objective's own sign.

    finished: COMPLETE. stopped: PRUNED. failed: FAIL, but a diverged trial under ``on_diverged:
    worst`` is COMPLETE with the worst finite number that any trial reported, so that the sampler
    learns to keep away. One that waits at a rung counts as PRUNED until it goes on. Everything
    else: RUNNING. Values are those of ``objective.pareto`` if it is given, else of its metric;
    a trial with values also has those of ``objective.constraints``.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.objective = space.objective
        self.metric = space.objective.score
        self.metrics = space.objective.pareto or (self.metric,)
        self.most = space.fidelity.max  # epochs of a whole trial
        self.worst_if_diverged = space.objective.on_diverged == "worst"
        self.distributions = {c.path: distribution(c) for c in space.coordinates()}
        self._held: dict[str, tuple[Any, Held]] = {}  # by a record's id: how it stood

    @property
    def directions(self) -> list[str]:
        """Optuna's name for the mode of each value."""
        return ["maximize" if m in LARGER_IS_BETTER else "minimize" for m in self.metrics]

    @property
    def names(self) -> list[str]:
        """The names of the values in the copy: the short name, and the unit if there is one."""
        units = [UNITS.get(metric, "").strip() for metric in self.metrics]
        names = [metric_name(metric) for metric in self.metrics]
        return [f"{n}, {unit}" if unit else n for n, unit in zip(names, units, strict=True)]

    def study_name(self, experiment: str) -> str:
        """The name of the copy. A study keeps its directions: each pair of metrics has its own."""
        return " ".join([experiment, *self.objective.pareto])

    def worst(self, records: Sequence[TrialRecord]) -> list[float] | None:
        """The worst finite numbers reported so far; None before there are any."""
        found = []
        for metric, direction in zip(self.metrics, self.directions, strict=True):
            values = [v for r in records for v in r.curve(metric).values() if math.isfinite(v)]
            if not values:
                return None
            found.append(min(values) if direction == "maximize" else max(values))
        return found

    def curve(self, record: TrialRecord) -> dict[int, float]:
        """The finite part of the record's learning curve."""
        return {e: v for e, v in record.curve(self.metric).items() if math.isfinite(v)}

    def newest(self, record: TrialRecord) -> dict[str, float]:
        """The last report in which all values are finite numbers; empty before there is one."""
        for report in reversed(record.reports):
            if all(math.isfinite(report.get(metric, math.nan)) for metric in self.metrics):
                return report
        return {}

    def state(
        self, record: TrialRecord, worst: list[float] | None
    ) -> tuple[TrialState, list[float] | None]:
        """Optuna's state and values of a record."""
        newest = self.newest(record)
        last = [newest[metric] for metric in self.metrics] if newest else None
        match record.state:
            case "finished" | "stopped" if last is None and len(self.metrics) > 1:
                return TrialState.FAIL, None
            case "finished" if last is None:  # its rate at equal quality is not defined
                return TrialState.FAIL, None
            case "finished" if last is not None and newest["epoch"] < record.epochs:
                return TrialState.PRUNED, last  # it has no score at the end
            case "finished":
                return TrialState.COMPLETE, last
            case "stopped":
                return TrialState.PRUNED, last
            case "failed":
                if record.diverged and self.worst_if_diverged and worst is not None:
                    return TrialState.COMPLETE, worst
                return TrialState.FAIL, None
            case "pending" | "running":
                pruned = record.paused and (last is not None or len(self.metrics) == 1)
                return (TrialState.PRUNED, last) if pruned else (TrialState.RUNNING, None)

    def frozen(self, record: TrialRecord, worst: list[float] | None) -> Held:
        """The record as Optuna's trial."""
        state, values = self.state(record, worst)
        missed = violations(self.newest(record), self.objective) if values else {}
        params, nan = record.params, math.nan
        trial = create_trial(
            state=state,
            values=values,
            params=dict(params),
            distributions={path: self.distributions[path] for path in params},
            intermediate_values=self.curve(record),
            user_attrs={NUMBER: record.number}
            | ({"reason": record.reason} if record.reason else {}),
            constraints=missed,
        )
        trial.__class__ = Held
        held = cast(Held, trial)
        held.row = tuple(
            one.to_internal_repr(params[path]) if path in params else nan
            for path, one in self.distributions.items()
        )
        held.active = tuple(params)
        held.sign = -1.0 if self.directions[0] == "maximize" else 1.0
        return held

    def held(self, record: TrialRecord, worst: list[float] | None) -> Held:
        """The record as Optuna's trial, made anew only if the record has changed since."""
        key = _state_key(record, worst)
        known = self._held.get(record.id)
        if known is not None and known[0] == key:
            return known[1]
        trial = self.frozen(record, worst)
        self._held[record.id] = key, trial
        return trial

    def has_result(self, record: TrialRecord) -> bool:
        """Whether a sampler learns from the record."""
        ended = record.state in ("finished", "stopped") or record.paused
        return (ended and bool(self.newest(record))) or (record.diverged and self.worst_if_diverged)


def frozen_trials(
    encoder: OptunaEncoder, records: Sequence[TrialRecord], sampler: BaseSampler | None = None
) -> list[Held]:
    """The records as they stand, numbered in their order, as ``sampler`` needs them; TPE: None."""
    worst = encoder.worst(records) if any(record.diverged for record in records) else None
    changed = bool(encoder.objective.pareto) or isinstance(sampler, NSGAIISampler)
    make = encoder.frozen if changed else encoder.held
    trials = [make(record, worst) for record in records]
    if encoder.objective.pareto:
        for record, trial in zip(records, trials, strict=True):
            epochs = encoder.newest(record).get("epoch", 0.0)
            _rank_by_epochs(trial, record, epochs / encoder.most)
    if isinstance(sampler, NSGAIISampler):
        _number_generations(trials, sampler)
    for number, trial in enumerate(trials):
        trial.number = number
    return trials


def study_of(
    trials: Sequence[FrozenTrial], sampler: BaseSampler, directions: Sequence[str]
) -> optuna.Study:
    """A study in memory for one proposal of ``sampler``."""
    study = optuna.create_study(sampler=sampler, directions=directions)
    study.add_trials(trials)
    return study


def _state_key(record: TrialRecord, worst: list[float] | None) -> Any:
    """What the encoded record depends on; a report may be repeated after a crash."""
    newest = record.reports[-1] if record.reports else None
    return (
        record.state,
        record.paused,
        len(record.reports),
        id(newest),
        id(record.params),
        record.reason,
        tuple(worst) if worst and record.diverged else None,
    )


def _rank_by_epochs(trial: FrozenTrial, record: TrialRecord, trained: float) -> None:
    """Encode a stopped trial for samplers of several values, which know no pruned trials.

    It is COMPLETE, and misses a constraint by the epochs that it lacks: it is worse than all whole
    ones, whatever its early values are, and worse than those that went further. ``trained``: the
    share of all epochs after which its values were reported.
    """
    if trial.values is None:
        return
    lacks = 1.0 if record.state == "failed" else max(0.0, 1 - trained)
    trial.state = TrialState.COMPLETE
    trial.set_constraint("epochs", lacks)


def _number_generations(trials: Sequence[FrozenTrial], sampler: NSGAIISampler) -> None:
    """Say of which generation each result is, in the order of the trials; Optuna asks for it."""
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    for index, trial in enumerate(complete):
        generation = index // sampler.population_size
        trial.system_attrs = trial.system_attrs | {sampler._get_generation_key(): generation}
