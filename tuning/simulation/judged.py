"""How much worse a config is than the best one, as far as its source of curves knows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from hpcm.schema import ConfigError
from tuning.ledger.reference_curve import DELTA_RATE, References
from tuning.results.outcome import ExperimentResult
from tuning.simulation.arms import Arms
from tuning.simulation.family import Family
from tuning.simulation.recorded import Recorded
from tuning.simulation.sources import Source
from tuning.spaces.space import SearchSpace
from tuning.spaces.wording import UNITS

Excess = Callable[[Mapping[str, Any]], float]


def excess_over_best(source: Source, space: SearchSpace, result: ExperimentResult) -> Excess:
    """A function from a flat config to percent above the best one, 0 or more.

    Made-up curves know their best config, recorded ones theirs; of an experiment it is the best of
    the trials that it brought to the end, by the objective.
    """
    match source:
        case Family() | Arms():
            return source.excess
        case Recorded():
            return _over_recorded(source, space, result)
    raise TypeError(f"{type(source).__name__} does not say what is best")


def refuse_unjudged(source: Source, space: SearchSpace) -> None:
    """Raise :class:`ConfigError` if an experiment's objective is no percentage."""
    score = space.objective.score
    if isinstance(source, Recorded) and score in UNITS and score != DELTA_RATE:
        raise ConfigError(
            f"--simulate {source.name}: its regret would be in{UNITS[score]}; a plan adds up"
            " percent: --set objective.metric=val_rd_cost objective.mode=min"
        )


def _over_recorded(source: Recorded, space: SearchSpace, result: ExperimentResult) -> Excess:
    most, score = space.fidelity.max, space.objective.score
    curve = None
    if score == DELTA_RATE:
        rate, quality = space.compared
        references = References(rate, quality)
        for run in result.references:
            assert run.lmbda is not None
            references.lmbdas[run.number] = run.lmbda
        for run in result.references:
            references.report(run.number, {**source.report(run.params, 0, most), "epoch": most})
        curve = references.curve(most)

    def at_end(params: Mapping[str, Any]) -> float:
        report = source.report(params, 0, most)
        found: float | None = report.get(score)
        if curve is not None:
            found = curve.delta_rate(report[rate], report[quality])
        return math.inf if found is None or math.isnan(found) else found

    best = min(at_end(trial.params) for trial in source.trials if trial.epochs >= most)
    if score == DELTA_RATE:
        return lambda params: max(0.0, at_end(params) - best)
    return lambda params: max(0.0, 100 * (at_end(params) / best - 1))
