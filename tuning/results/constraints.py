"""`objective.constraints`: which trials may be called the best."""

from __future__ import annotations

import math
from collections.abc import Mapping

from tuning.ledger.records import TrialRecord
from tuning.spaces.sections import Objective

UNKNOWN = 1.0  # counted if the metric is not a finite number: missed by all of the bound


def violations(metrics: Mapping[str, float], objective: Objective) -> dict[str, float]:
    """By how much each bound is missed, as a share of it; 0 or less if it is kept."""
    found = {}
    for metric, bound in objective.constraints.items():
        value = metrics.get(metric, math.nan)
        for side, limit, sign in (("min", bound.min, -1.0), ("max", bound.max, 1.0)):
            if limit is not None:
                missed = sign * (value - limit) / (abs(limit) or 1.0)
                missed = missed if math.isfinite(value) else UNKNOWN
                found[f"{metric} {side}"] = missed
    return found


def feasible(trial: TrialRecord, objective: Objective) -> bool:
    """Whether the trial keeps every bound at the last epoch that was validated."""
    found = violations(trial.scored(objective.score), objective)
    return all(missed <= 0 for missed in found.values())


def constraints_text(objective: Objective) -> str:
    """The bounds in words: ``val_bpp at most 0.3``."""
    texts = []
    for metric, bound in objective.constraints.items():
        texts += [f"{metric} at least {bound.min:g}"] if bound.min is not None else []
        texts += [f"{metric} at most {bound.max:g}"] if bound.max is not None else []
    return ", ".join(texts)
