"""What the page shows of the finalists on fresh seeds (:mod:`tuning.results.confirm`)."""

from __future__ import annotations

from typing import Any

from tuning.results.confirm import Confirmation, Finalist, Spread


def confirm_data(found: Confirmation | None) -> dict[str, Any] | None:
    """The finalists, the prior first; None if nothing is confirmed yet."""
    if found is None:
        return None
    prior = found.finalists[0]
    return {
        "seeds": list(found.space.confirm.seeds),
        "left": found.left,
        "best": found.best.trial.number if found.best else None,
        "finalists": [_finalist(one, prior, found) for one in found.finalists],
    }


def _finalist(one: Finalist, prior: Finalist, found: Confirmation) -> dict[str, Any]:
    metric = found.space.objective.score
    return {
        "trial": one.trial.number,
        "role": one.trial.role,  # the baseline is a reference run
        "searched": one.trial.last.get(metric),
        "values": [
            one.runs[seed].last[metric] if seed in one.runs else None
            for seed in found.space.confirm.seeds
        ],
        "failed": one.failed,
        "spread": _spread(one.spread(metric)),
        "difference": None if one is prior else _spread(one.difference(prior, metric)),
    }


def _spread(found: Spread | None) -> tuple[float, float | None] | None:
    return None if found is None else (found.mean, found.deviation)
