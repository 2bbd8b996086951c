"""What the page of an experiment shows, as plain data: JSON without NaN, text without secrets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tuning.ledger.driver_lock import driver_of
from tuning.ledger.events import Exploited, OfTrial, Proposed, Retried, RungDecision
from tuning.ledger.folders import command_text
from tuning.ledger.records import TrialRecord
from tuning.ledger.redaction import redacted
from tuning.page.axes import Axis, axes_of, points_of, short_labels
from tuning.page.confirm import confirm_data
from tuning.page.curves import Point, points, rounded, thin
from tuning.page.fidelity import fidelity_data
from tuning.page.live_ledger import LiveLedger
from tuning.results.confirm import Confirmation, confirmation
from tuning.results.constraints import constraints_text, feasible
from tuning.results.image_error import ImageErrors
from tuning.results.outcome import (
    at_common_epoch,
    best_of,
    counted_text,
    hours_without_stopping,
    ranked,
)
from tuning.results.pareto import pareto_front
from tuning.results.reference_lines import reference_lines
from tuning.spaces.draws import total_trials
from tuning.spaces.space import SearchSpace
from tuning.spaces.wording import (
    SIGNED,
    UNITS,
    difference_text,
    hours_text,
    metric_name,
    metric_text,
    value_text,
)

ALL_POINTS = 16_000  # of all curves together: more neither the eye nor the browser follows
SHOWN_METRICS = ("val_bpp", "val_psnr")  # besides the objective
GROUPS = ("weights", "gamma", "scale_contrib")  # of a trial, over its epochs


def experiment_data(ledger: LiveLedger, space: SearchSpace) -> dict[str, Any]:
    """The whole page but the details of one trial."""
    records = ledger.records()
    word, sentence = status(ledger, space)
    axes, prior = axes_of(space), space.values(space.prior()) if space.ranks_trials else {}
    labels = dict(zip(space.parameters, short_labels(list(space.parameters)), strict=True))
    saved = [
        hours_without_stopping(r, space) - r.cost_hours for r in records if r.state == "stopped"
    ]
    confirming, references = ledger.confirmations(), ledger.reference_runs()
    spent = sum(run.cost_hours for run in (*records, *confirming, *references))
    unit = "GPU" if space.resources.gpu else "CPU"
    confirmed = confirmation(records, confirming, space, references)
    best = _best(records, space, confirmed)
    order = [record.number for record in ranked(records, space)]
    if best is not None:  # of the finalists on fresh seeds, or of those within the constraints
        order = [best["trial"], *(number for number in order if number != best["trial"])]
    errors = ImageErrors(space, references)
    places = {number: place for place, number in enumerate(order)}
    return {
        "name": ledger.experiment,
        "space": space.name,
        "question": space.question,
        "profile": space.profile,
        "state": word,
        "sentence": sentence,
        "simulated": ledger.simulated,
        "sessions": ledger.sessions,
        "updated": ledger.latest,
        "elapsed": ledger.seconds,
        "metric": metric_name(space.objective.score),
        "ranks": space.ranks_trials,
        "signed": space.objective.score in SIGNED,
        "relative": UNITS.get(space.objective.score, " %").strip(),
        "mode": space.objective.mode,
        "constraints": constraints_text(space.objective),
        "pareto": [metric_name(metric) for metric in space.objective.pareto],
        "front": [record.number for record in pareto_front(records, space)],
        "scheduler": space.scheduler.name,
        "searcher": space.searcher.name,
        "budget": {"trials": total_trials(space), "hours": space.budget.hours},
        "levels": list(space.rungs()),
        "unit": unit,
        "hours": {
            "spent": hours_text(spent, unit),
            "counted": counted_text(records, references, confirming, space),
            "saved": hours_text(sum(saved), unit) if sum(saved) else "",
        },
        "best": best,
        "confirm": confirm_data(confirmed),
        "references": reference_lines(references, records, space),
        "axes": [axis.to_plain() for axis in axes],
        "trials": [
            _trial(record, records, space, word)
            | {"error": errors.of(record.scored(space.objective.score))}
            | _parameters(space.values(record.params), labels, axes, prior)
            | {"crashes": _crashes(ledger, record.number), "place": places.get(record.number)}
            for record in records
        ],
        "fidelity": fidelity_data(records, ledger.rungs, space),
        "rungs": [_rung(level, ledger, space) for level in space.rungs()[:-1]],
    }


def trial_data(ledger: LiveLedger, space: SearchSpace, number: int) -> dict[str, Any]:
    """What the page shows of one selected trial. Raises :class:`KeyError` if there is none."""
    record = ledger.trials[number]
    prior, values = space.values(space.prior()), space.values(record.params)
    bpp, psnr = record.curve("val_bpp"), record.curve("val_psnr")
    newest = record.scored(space.objective.score)
    return {
        "number": number,
        "id": record.id,
        "parameters": [
            {"path": path, "value": _text(values, path), "prior": _text(prior, path)}
            for path in space.parameters
            if path in values or path in prior
        ],
        "groups": {group: group_data(record, group, space) for group in GROUPS},
        "path": [(bpp[epoch], psnr[epoch]) for epoch in thin(bpp, space) if epoch in psnr],
        "metrics": {key: value for key, value in newest.items() if key.startswith("val_")},
        "history": [_event(event) for event in ledger.history.get(number, [])],
    }


def status(ledger: LiveLedger, space: SearchSpace) -> tuple[str, str]:
    """How the experiment stands, in a word and in a sentence."""
    closed = ledger.closed
    resume = command_text(f"{space.command} --resume", ledger.path.parent)
    if ledger.opened is None:
        return "starting", "nothing was written yet"
    if closed is None:
        if driver_of(ledger.path.parent):
            return "running", "the search is under way"
        return "killed", f"its driver is gone; {resume}"
    if closed.error:
        return "broke off", closed.error
    if closed.complete:
        return "complete", "every trial of the budget has ended, or its hours are spent"
    word = "interrupted" if closed.interrupted else "not complete"
    return word, resume


def plain(value: Any) -> Any:
    """``value`` as valid JSON: what is not a finite number is null, text is without secrets."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case str():
            return redacted(value)
        case dict():
            return {key: plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case Path():
            return str(value)
    return value


def _trial(
    record: TrialRecord, records: Sequence[TrialRecord], space: SearchSpace, word: str
) -> dict[str, Any]:
    metric = space.objective.score
    curve, last = record.curve(metric), record.scored(metric)
    its = records[0].curve(metric) if records[0].is_prior else {}
    reference, value = its.get(int(last.get("epoch", 0))), last.get(metric)
    relative = None
    if value is not None and reference and not record.is_prior and space.ranks_trials:
        relative = value - reference if metric in UNITS else 100 * (value / reference - 1)
    return {
        "number": record.number,
        "state": _state(record, word),
        "epochs": record.epochs,
        "objective": value,
        "relative": relative,
        "bpp": last.get("val_bpp"),
        "psnr": last.get("val_psnr"),
        "seconds": record.seconds,
        "hours": record.cost_hours,
        "feasible": not record.reports or feasible(record, space.objective),
        "copies": [(exploit.epoch, exploit.donor) for exploit in record.exploits],
        "retries": record.retries,
        "reason": record.reason,
        "rung": record.rung_stopped_at,
        "curve": points(curve, space, most=max(8, ALL_POINTS // len(records))),
    }


def _state(record: TrialRecord, word: str) -> str:
    if record.paused:
        return "waiting"
    return "pending" if record.state == "running" and word != "running" else record.state


def _best(
    records: Sequence[TrialRecord], space: SearchSpace, confirmed: Confirmation | None
) -> dict[str, Any] | None:
    """The best trial, by fresh seeds once they are through, beside the prior at the same epoch."""
    chosen = confirmed.best if confirmed else None
    best = chosen.trial if chosen else best_of(records, space)
    if best is None:
        return None
    prior = next((record for record in records if record.is_prior), None)
    shown, its = at_common_epoch(best, prior, space.objective.score)
    rows = []
    for metric in dict.fromkeys((space.objective.score, *SHOWN_METRICS)):
        value, reference = shown.get(metric), its.get(metric)
        difference = "" if best.is_prior else difference_text(metric, value, reference)
        rows.append(
            {
                "name": metric_name(metric),
                "best": metric_text(metric, value),
                "prior": metric_text(metric, reference),
                "difference": difference,
            }
        )
    return {"trial": best.number, "epochs": int(shown["epoch"]), "rows": rows}


def _rung(level: int, ledger: LiveLedger, space: SearchSpace) -> dict[str, Any]:
    sign = space.objective.sign
    there = ledger.decisions.get(level, {})
    ranked = sorted(there.values(), key=_by_score)
    return {
        "epoch": level,
        "reached": sum(record.epochs >= level for record in ledger.trials.values()),
        "entries": [
            {
                "trial": decision.trial,
                "value": None if decision.score is None else sign * decision.score,
                "rank": decision.rank,
                "peers": decision.peers,
                "fate": _fate(decision, ledger),
            }
            for decision in ranked
        ],
    }


def _by_score(decision: RungDecision) -> tuple[float, int]:
    return math.inf if decision.score is None else decision.score, decision.trial


def _fate(decision: RungDecision, ledger: LiveLedger) -> str:
    """What became of a trial at a rung."""
    record = ledger.trials[decision.trial]
    if decision.trial in ledger.promoted.get(decision.epoch, ()):
        return "promoted later"
    if not decision.keeps:
        return "waits" if record.paused else "stopped"
    if decision.control:
        return "control"
    return "prior" if record.is_prior else "promoted"


def _parameters(
    values: dict[str, Any], labels: dict[str, str], axes: list[Axis], prior: dict[str, Any]
) -> dict[str, Any]:
    differs = [
        (labels[path], value_text(value))
        for path, value in values.items()
        if prior.get(path) != value
    ]
    places = [rounded(p) if isinstance(p, float) else p for p in points_of(values, axes)]
    return {"differs": differs, "points": places}


def _crashes(ledger: LiveLedger, number: int) -> list[str]:
    events = ledger.history.get(number, [])
    return [event.reason for event in events if isinstance(event, Retried)]


def group_data(record: TrialRecord, group: str, space: SearchSpace) -> dict[str, list[Point]]:
    """The curves of a group of metrics by their names in it."""
    names = dict.fromkeys(
        key for report in record.reports for key in report if key.partition("/")[0] == group
    )
    curves = {name: record.curve(name) for name in names}
    return {name.partition("/")[2] or name: points(curve, space) for name, curve in curves.items()}


def _event(event: OfTrial) -> dict[str, Any]:
    match event:
        case Proposed():
            text = f"by {event.source}"
        case RungDecision():
            text = f"rank {event.rank} of {event.peers} at epoch {event.epoch}"
        case Exploited():
            text = f"became a changed copy of trial {event.donor}, epoch {event.epoch}"
        case _:
            text = getattr(event, "reason", None) or ""
    return {"time": event.time, "event": getattr(event, "event", ""), "text": text}


def _text(values: dict[str, Any], path: str) -> str | None:
    return value_text(values[path]) if path in values else None
