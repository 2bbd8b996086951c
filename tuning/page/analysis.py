"""What page and report say of an experiment as a whole: the answer, and what it rests on.

It is asked for less often than the trials: a bootstrap takes seconds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from tuning.ledger.records import TrialRecord
from tuning.page.axes import axes_of, points_of
from tuning.page.curves import rounded
from tuning.page.data import GROUPS, group_data
from tuning.page.health import health_data
from tuning.page.ladders import ladder_bd_lines, ladders_data
from tuning.page.live_ledger import LiveLedger
from tuning.results.answer import answer_lines
from tuning.results.effects import common_epoch, edge_hits, scores_at, trend
from tuning.results.exported import exported_header
from tuning.results.incumbent import incumbent
from tuning.results.outcome import ExperimentResult
from tuning.search.importance import BEST, DRAWS, LEAST, LEVEL, importances
from tuning.spaces.space import SearchSpace
from tuning.spaces.wording import value_text

COMMIT = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{28}\b")  # shown in part: a whole one may be a key
NO_SCORE = "no trial has a score at a rung yet"


def analysis_data(
    ledger: LiveLedger, space: SearchSpace, result: ExperimentResult
) -> dict[str, Any]:
    """All of it; ``result`` is what the same ledger comes to."""
    epoch = common_epoch(result.trials, space)
    scores = scores_at(result.trials, space, epoch) if epoch else {}
    ladders = ladders_data(ledger.path.parent, space)
    answer = [*answer_lines(result), *ladder_bd_lines(ladders)]
    level, steps = incumbent(ledger.timeline, ledger.trials, space)
    return {
        "answer": answer or [_no_answer(result)],
        "configs": _configs(result),
        "incumbent": {
            "epoch": level,
            "spent": result.hours_spent,
            "steps": [(rounded(s.hours), rounded(s.score), s.trial) for s in steps],
        },
        "effects": _effects(result.trials, space, epoch, scores),
        "importance": _importance(result.trials, space, scores),
        "edges": [str(hit) for hit in edge_hits(result.best, space)] if result.best else [],
        "balance": _balance(result),
        "reference": _reference(ledger, space),
        "ladders": ladders,
        "health": health_data(ledger, space, result),
        "export": [COMMIT.sub(r"\1", line) for line in exported_header(ledger.path.parent)],
    }


def _no_answer(result: ExperimentResult) -> str:
    """Why there is none."""
    if not result.info.space.ranks_trials:
        return "a ladder: its runs are compared by their curves, and no curve is there yet"
    if not result.trials:
        return "no trial was proposed yet: there is nothing to answer with"
    if all(trial.state == "failed" for trial in result.trials):
        return f"every trial failed, the first: {result.trials[0].reason or 'no reason recorded'}"
    return "no trial has a score yet: there is no answer so far"


def _configs(result: ExperimentResult) -> list[dict[str, Any]]:
    """Every parameter of the prior and of the best trial."""
    space, best = result.info.space, result.best
    if not space.ranks_trials:
        return []
    prior, found = space.values(space.prior()), space.values(best.params) if best else {}
    return [
        {
            "path": path,
            "prior": value_text(prior[path]) if path in prior else None,
            "best": value_text(found[path]) if path in found else None,
        }
        for path in space.parameters
        if path in prior or path in found
    ]


def _effects(
    trials: Sequence[TrialRecord],
    space: SearchSpace,
    epoch: int | None,
    scores: Mapping[int, float],
) -> dict[str, Any]:
    """Every axis with the trials on it, at one epoch."""
    axes, known = axes_of(space), [trial for trial in trials if trial.number in scores]
    places = {trial.number: points_of(space.values(trial.params), axes) for trial in known}
    panels = []
    for k, axis in enumerate(axes):
        points = [
            (place, rounded(scores[number]), number)
            for number, row in places.items()
            if (place := row[k]) is not None
        ]
        if len({str(place) for place, _, _ in points}) < 2:
            continue
        numeric = [
            (x, y) for x, y, _ in points if isinstance(x, float) and not (axis.zero and not x)
        ]
        panels.append(
            {
                "axis": axis.to_plain(),
                "points": points,
                "trend": []
                if axis.choices
                else [(rounded(x), rounded(y)) for x, y in trend(numeric)],
                "choices": _choices(points, axis.choices),
            }
        )
    nothing = "" if scores else NO_SCORE
    return {"epoch": epoch, "trials": len(known), "panels": panels, "nothing": nothing}


def _choices(
    points: Sequence[tuple[float | str, float, int]], choices: Sequence[str]
) -> list[dict[str, Any]]:
    """The median score of each choice, and how many trials had it."""
    found = []
    for choice in choices:
        values = [score for place, score, _ in points if place == choice]
        if values:
            found.append({"choice": choice, "trials": len(values), "median": median(values)})
    return found


def _importance(
    trials: Sequence[TrialRecord], space: SearchSpace, scores: Mapping[int, float]
) -> dict[str, Any]:
    rows = importances(trials, scores, space)
    return {
        "rows": [
            {
                "path": one.path,
                "share": one.share,
                "interval": (one.low, one.high),
                "trials": one.trials,
                "conditional": one.conditional,
            }
            for one in rows
        ],
        "note": f"PED-ANOVA of Optuna: how far the best {BEST:.0%} differ from all trials;"
        f" {LEVEL:.0%} intervals by {DRAWS} draws of the trials",
        "nothing": ""
        if rows
        else f"not known before {LEAST} trials that differ have a score at one rung",
    }


def _balance(result: ExperimentResult) -> list[dict[str, Any]]:
    """Task weights, gammas and the shares of scales of baseline, prior and best, over epochs."""
    space = result.info.space
    named = [("baseline", result.baseline), ("prior", result.prior), ("best", result.best)]
    rows = []
    for name, trial in named if space.ranks_trials else ():
        if trial is not None and not (name == "best" and trial.is_prior):
            groups = {group: group_data(trial, group, space) for group in GROUPS}
            rows.append({"name": name, "trial": trial.number, "groups": groups})
    return rows


def _reference(ledger: LiveLedger, space: SearchSpace) -> dict[str, Any] | None:
    """Rate and PSNR of the reference runs at the last rung at which there is a curve.

    Those of the raw weights, as the page draws the trials.
    """
    references = ledger.references
    if references is None:
        return None
    reason = "the reference runs have not come to a rung yet"
    for epoch in reversed(space.rungs()):
        curve = references.curve(epoch)
        if curve is not None and curve.defined:
            reports = [(run.lmbda, run.report_at(epoch) or {}) for run in ledger.reference_runs()]
            points = [
                (report["val_bpp"], report["val_psnr"], lmbda)
                for lmbda, report in sorted(reports, key=lambda one: one[0] or 0.0)
                if report.keys() >= {"val_bpp", "val_psnr"}
            ]
            return {"epoch": epoch, "points": points, "reason": None}
        if curve is not None and curve.reason:
            reason = f"no reference curve at epoch {epoch}: {curve.reason}"
    return {"epoch": None, "points": [], "reason": reason}
