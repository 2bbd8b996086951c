"""Several experiments together: a list of all, and a comparison of some."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hpcm.schema import ConfigError
from tuning.ledger import folders
from tuning.page.curves import rounded
from tuning.page.data import status
from tuning.page.ladders import ladder_bd_lines, ladders_data
from tuning.page.live_ledger import LiveLedger
from tuning.results.answer import answer_lines
from tuning.results.incumbent import incumbent
from tuning.results.outcome import ExperimentResult, at_common_epoch
from tuning.results.tables import read_result
from tuning.spaces.draws import total_trials
from tuning.spaces.space import SearchSpace
from tuning.spaces.wording import (
    ABSENT,
    clock_text,
    columns,
    count_text,
    hours_text,
    metric_name,
    metric_text,
    value_text,
)

MOST_CHANGES = 40  # lines of what differs between two spaces
HEAD = ("experiment", "state", "trials", "best", "prior", "hours", "searched by")


@dataclass(frozen=True)
class Snapshot:
    """An experiment as it stands."""

    result: ExperimentResult
    ledger: LiveLedger

    @property
    def name(self) -> str:
        """The experiment's name."""
        return self.result.info.name

    @property
    def space(self) -> SearchSpace:
        """What it searches."""
        return self.result.info.space

    @property
    def state(self) -> str:
        """Its state in a word."""
        return status(self.ledger, self.space)[0]


def read_snapshot(name: str, storage: str) -> Snapshot:
    """An experiment by its name, or the last. Raises :class:`ConfigError`."""
    result = read_result(name, storage)
    devices = result.info.space.resources.devices
    return Snapshot(result, LiveLedger(result.info.directory, devices=devices))


def list_lines(storage: str) -> list[str]:
    """A line per experiment of the folder, the one that ran last at the end.

    One that cannot be read has the reason instead.
    """
    folder = folders.storage_folder(storage, write=False)
    names = folders.experiments(folder)
    if not names:
        return [f"no experiment in {folder}"]
    rows: list[tuple[str, ...]] = []
    for name in names:
        try:
            rows.append(_cells(read_snapshot(name, str(folder))))
        except ConfigError as error:
            rows.append((name, f"cannot be read: {error}"))
    whole = [row for row in rows if len(row) == len(HEAD)]
    lines = iter(columns([HEAD, *whole]))
    head = next(lines)
    return [head, *(next(lines) if len(row) == len(HEAD) else "  ".join(row) for row in rows)]


def _cells(one: Snapshot) -> tuple[str, ...]:
    result, space = one.result, one.space
    score = space.objective.score
    best, prior = ABSENT, ABSENT
    if result.best is not None and result.best.scored(score):
        mine, theirs = at_common_epoch(result.best, result.prior, score)
        text = metric_text(score, mine.get(score))
        best = f"{text} at {int(mine['epoch'])}, trial {result.best.number}"
        prior = metric_text(score, theirs.get(score))
    if not space.ranks_trials:
        lines = ladder_bd_lines(ladders_data(result.info.directory, space))
        best = lines[0].partition(": BD-rate ")[2] or ABSENT if lines else ABSENT
    ended = sum(trial.ended for trial in result.trials)
    return (
        one.name,
        one.state + (", simulated" if result.info.simulated else ""),
        f"{ended}/{total_trials(space)}",
        best,
        prior,
        hours_text(result.hours_spent, result.unit),
        f"{space.searcher.name}, {space.scheduler.name}",
    )


# --- a comparison --------------------------------------------------------------------------------


def compare_data(names: Sequence[str], storage: str) -> dict[str, Any]:
    """Experiments side by side. Raises :class:`ConfigError` for fewer than two, and for ladders."""
    found = [read_snapshot(name, storage) for name in dict.fromkeys(names)]
    if len(found) < 2:
        raise ConfigError(f"{' '.join(names)}: name two experiments or more")
    ladders = [one.name for one in found if not one.space.ranks_trials]
    if ladders:
        raise ConfigError(
            f"{ladders[0]}: a ladder, whose runs are not ranked; python -m hpcm compare takes its"
            " results files"
        )
    first, *others = found
    metrics = {one.space.objective.score for one in found}
    return {
        "names": [one.name for one in found],
        "metric": metric_name(first.space.objective.score) if len(metrics) == 1 else None,
        "unit": first.result.unit,
        "experiments": [_experiment(one) for one in found],
        "differs": [_difference(first, other) for other in others],
        "parameters": _parameters(found),
        "warnings": _warnings(found),
    }


def _experiment(one: Snapshot) -> dict[str, Any]:
    space, result = one.space, one.result
    epoch, steps = incumbent(one.ledger.timeline, one.ledger.trials, space)
    return {
        "name": one.name,
        "cells": _cells(one),
        "question": space.question,
        "answer": answer_lines(result)[:2],
        "epoch": epoch,
        "spent": result.hours_spent,
        "steps": [(rounded(s.hours), rounded(s.score), s.trial) for s in steps],
        "clock": clock_text(one.ledger.seconds),
    }


def _difference(first: Snapshot, other: Snapshot) -> dict[str, Any]:
    """In which keys the space of ``other`` differs from the first one's."""
    changes = [
        change
        for change in first.space.diff(other.space)
        if not change.path.startswith(("path", "warnings", "question", "profiles"))
    ]
    return {
        "name": other.name,
        "against": first.name,
        "changes": [(str(change), change.breaks) for change in changes],
    }


def _parameters(found: Sequence[Snapshot]) -> list[dict[str, Any]]:
    """Every parameter that any of them searched, and the best value in each."""
    paths = dict.fromkeys(path for one in found for path in one.space.parameters)
    return [{"path": path, "best": [_best_value(one, path) for one in found]} for path in paths]


def _best_value(one: Snapshot, path: str) -> str:
    if path not in one.space.parameters:
        return "not searched"
    best = one.result.best
    values = one.space.values(best.params) if best is not None else {}
    return value_text(values[path]) if path in values else "off" if best else ABSENT


def _warnings(found: Sequence[Snapshot]) -> list[str]:
    """Why scores of two of them are not the same quantity."""
    first, *others = found
    texts = []
    for other in others:
        broken = [c for c in first.space.diff(other.space) if c.breaks]
        measured = [c for c in broken if c.path.startswith(("base.", "objective.", "fidelity."))]
        if measured:
            listed = ", ".join(change.path for change in measured[:6])
            texts.append(
                f"{other.name} and {first.name} differ in what a score means ({listed}): their"
                " numbers are not of one quantity"
            )
    return texts


def compare_lines(data: dict[str, Any]) -> list[str]:
    """The comparison for a terminal: a table, what differs, best values, incumbents."""
    lines = columns([HEAD, *(one["cells"] for one in data["experiments"])])
    for one in data["experiments"]:
        lines += ["", f"{one['name']}:", *(f"  {text}" for text in one["answer"])]
    for warning in data["warnings"]:
        lines += ["", f"warning: {warning}"]
    for difference in data["differs"]:
        texts = [text for text, _ in difference["changes"]]
        shown = texts[:MOST_CHANGES] or ["nothing"]
        more = len(texts) - len(shown)
        rest = [f"and {count_text(more, 'other key')}"] if more > 0 and texts else []
        lines += ["", f"{difference['name']} differs from {difference['against']} in"]
        lines += [f"  {text}" for text in [*shown, *rest]]
    rows = [("", *data["names"]), *((p["path"], *p["best"]) for p in data["parameters"])]
    lines += ["", "the best config of each:", *columns(rows)]
    return [*lines, "", *_incumbent_lines(data)]


def _incumbent_lines(data: dict[str, Any]) -> list[str]:
    """The best score of each when a quarter, a half and all of the smallest cost was spent."""
    known = [one for one in data["experiments"] if one["steps"]]
    if len(known) < 2 or data["metric"] is None:
        return ["best so far: not compared, for their objectives differ or one has no score"]
    least = min(one["spent"] for one in known)
    marks = [least / 4, least / 2, least]
    unit = data["unit"]
    rows = [("best so far after", *(hours_text(mark, unit, larger=least) for mark in marks))]
    for one in known:
        found = [_at(one["steps"], mark) for mark in marks]
        shown = [ABSENT if math.isnan(value) else f"{value:.4g}" for value in found]
        rows.append((f"{one['name']}, epoch {one['epoch']}", *shown))
    return columns(rows)


def _at(steps: Sequence[tuple[float, float, int]], hours: float) -> float:
    reached = [score for at, score, _ in steps if at <= hours]
    return reached[-1] if reached else math.nan
