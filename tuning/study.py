"""Trials as an Optuna study: the evidence that a sampler sees, and what the copy for people says.

Two studies, both made from the ledger's records. The *evidence* is built anew for each proposal, in
memory, so that a proposal depends on the records alone, not on how often the driver was restarted
(0.1 s at 1,000 trials). The *copy* is for people: :mod:`tuning.study_copy`.
"""

from __future__ import annotations

from collections.abc import Sequence

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState, create_trial

from tuning.coordinates import Coordinate
from tuning.records import TrialRecord
from tuning.space import SearchSpace

NUMBER = "trial"  # user attribute: our number of the trial

optuna.logging.set_verbosity(optuna.logging.WARNING)


def distribution(coordinate: Coordinate) -> BaseDistribution:
    """Optuna's word for a coordinate."""
    match coordinate.type:
        case "float":
            return FloatDistribution(coordinate.low, coordinate.high, log=coordinate.log)
        case "int":
            return IntDistribution(coordinate.low, coordinate.high, log=coordinate.log)
        case "categorical":
            return CategoricalDistribution(coordinate.choices)


class Outcomes:
    """How a record is told: the state, the value and the whole curve, in the objective's own sign.

    finished: COMPLETE. stopped: PRUNED. failed: FAIL, but a diverged trial under ``on_diverged:
    worst`` is COMPLETE with the worst finite number that any trial reported, so that the sampler
    learns to keep away. One that waits at a rung counts as PRUNED until it goes on. Everything
    else: RUNNING.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.metric, self.mode = space.objective.metric, space.objective.mode
        self.worst_if_diverged = space.objective.on_diverged == "worst"
        self.distributions = {c.path: distribution(c) for c in space.coordinates()}

    @property
    def directions(self) -> list[str]:
        """Optuna's word for the mode."""
        return ["minimize" if self.mode == "min" else "maximize"]

    def worst(self, records: Sequence[TrialRecord]) -> float | None:
        """The worst finite number reported so far; None before there is one."""
        values = [v for r in records for v in self.curve(r).values()]
        if not values:
            return None
        return max(values) if self.mode == "min" else min(values)

    def curve(self, record: TrialRecord) -> dict[int, float]:
        """The finite part of the record's learning curve."""
        inf = float("inf")
        return {e: v for e, v in record.curve(self.metric).items() if -inf < v < inf}

    def state(self, record: TrialRecord, worst: float | None) -> tuple[TrialState, float | None]:
        """Optuna's state and value of a record."""
        curve = self.curve(record)
        last = curve[max(curve)] if curve else None
        match record.state:
            case "finished":
                return TrialState.COMPLETE, last
            case "stopped":
                return TrialState.PRUNED, last
            case "failed":
                if record.diverged and self.worst_if_diverged and worst is not None:
                    return TrialState.COMPLETE, worst
                return TrialState.FAIL, None
            case "pending" | "running":
                return (TrialState.PRUNED, last) if record.paused else (TrialState.RUNNING, None)

    def frozen(self, record: TrialRecord, worst: float | None) -> FrozenTrial:
        """The record as Optuna's trial."""
        state, value = self.state(record, worst)
        return create_trial(
            state=state,
            value=value,
            params=dict(record.params),
            distributions={path: self.distributions[path] for path in record.params},
            intermediate_values=self.curve(record),
            user_attrs={NUMBER: record.number}
            | ({"reason": record.reason} if record.reason else {}),
        )


def evidence(
    outcomes: Outcomes, records: Sequence[TrialRecord], sampler: optuna.samplers.BaseSampler
) -> optuna.Study:
    """A study in memory that holds the records as they stand, for one proposal of ``sampler``."""
    study = optuna.create_study(sampler=sampler, directions=outcomes.directions)
    worst = outcomes.worst(records)
    study.add_trials([outcomes.frozen(record, worst) for record in records])
    return study
