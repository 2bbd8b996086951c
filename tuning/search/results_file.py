"""A CSV or JSON file of configs and what they came to, as earlier trials: a grid run by hand.

A row is one report of one run: its parameters by their paths (`optimizer.lr`), with the values that
a run config has, and its metrics as a report has them. Further keys:

``epoch``       after how many epochs; the space's maximum fidelity if the file has no such column
``seed``        tells runs of one config apart
``mode``        which value is better, min or max; must be the objective's
another field   of the run config (`loss.lmbda`); must be what this space trains with

Empty cells are not there. Rows of one config and seed at different epochs are one run. Every row is
checked, and one that is wrong refuses the file: nothing is left out in silence.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hpcm import TrainConfig
from hpcm.files import parse_json, read_text
from hpcm.schema import MOST_PROBLEMS, ConfigError, did_you_mean, fields_of, leaves, shown
from tuning.ledger.records import TrialRecord
from tuning.spaces.categorical import Categorical
from tuning.spaces.conditions import holds
from tuning.spaces.parameters import Float, Parameter, Simplex
from tuning.spaces.sections import DELTA_RATE
from tuning.spaces.space import SearchSpace

ENDINGS = (".csv", ".json")
LARGEST = 50_000_000  # bytes of a file
KEYS = ("epoch", "seed", "mode")
Row = Mapping[str, Any]
Tell = Callable[[str, str], None]  # a key and what is wrong with it


@dataclass(frozen=True)
class _Report:
    """A row that is right."""

    row: int
    params: dict[str, Any]  # flat config
    seed: Any
    metrics: dict[str, float]  # with the epoch


def is_results_file(name: str) -> bool:
    """Whether an entry of `searcher.warm_start` names a file, not an experiment."""
    return name.lower().endswith(ENDINGS)


def read_results_file(name: str, space: SearchSpace, metrics: tuple[str, ...]) -> list[TrialRecord]:
    """The runs in the file ``name``, by their first row; of a report ``metrics`` are kept.

    Raises :class:`ConfigError` with a line per problem: file, row, key.
    """
    path = Path(name).expanduser()
    rows = _csv_rows(path) if name.lower().endswith(".csv") else _json_rows(path)
    if not rows:
        raise ConfigError(f"{path}: has no rows")
    _refuse(path, list(_unknown_keys(rows, space, metrics)))
    problems: list[str] = []
    found = [_read_row(row, n, space, metrics, problems) for n, row in enumerate(rows, start=1)]
    reports = [report for report in found if report is not None]
    _refuse(path, problems or _repeated(reports))
    return _as_trials(reports, name, space)


def _refuse(path: Path, problems: list[str]) -> None:
    if problems:
        more = len(problems) - MOST_PROBLEMS
        rest = [f"and {more:,} more problems"] if more > 0 else []
        lines = [f"{path}: {problem}" for problem in problems[:MOST_PROBLEMS]]
        raise ConfigError("\n".join([*lines, *rest]))


def _csv_rows(path: Path) -> list[Row]:
    """Cells as JSON has them (numbers, true, lists), else as text; empty ones are left out."""
    text = io.StringIO(read_text(path, LARGEST).removeprefix("\ufeff"))
    lines = csv.reader(text, strict=True, skipinitialspace=True)
    rows: list[Row] = []
    try:
        head = [name.strip() for name in next(lines, [])]
        for name in head:
            if head.count(name) > 1 or not name:
                what = "stands twice in the first line" if name else "has no name"
                raise ConfigError(f"{path}: the column {shown(repr(name))} {what}")
        for cells in filter(None, lines):
            if len(cells) != len(head):
                raise ConfigError(
                    f"{path}: row {len(rows) + 1}: {len(cells)} cells, and the first line names"
                    f" {len(head)} columns"
                )
            named = zip(head, (cell.strip() for cell in cells), strict=True)
            rows.append({name: _value(cell) for name, cell in named if cell})
    except csv.Error as error:
        raise ConfigError(f"{path}: row {len(rows) + 1}: not CSV: {error}") from None
    return rows


def _json_rows(path: Path) -> list[Row]:
    """A list of objects, whose sections may be nested; null is left out."""
    plain = parse_json(read_text(path, LARGEST), str(path), infinite=True)
    if not isinstance(plain, list) or not all(isinstance(row, dict) for row in plain):
        raise ConfigError(f"{path}: must be a list of objects, one for each result")
    return [{k: v for k, v in leaves(row).items() if v is not None} for row in plain]


def _value(cell: str) -> Any:
    try:
        return json.loads(cell)
    except ValueError:
        return cell


def _unknown_keys(rows: list[Row], space: SearchSpace, metrics: tuple[str, ...]) -> Iterator[str]:
    """Once for each key, with the row in which it stands first."""
    fields = {info.path for info in fields_of(TrainConfig)}
    known = {*KEYS, *metrics, *space.parameters, *fields}
    listed: set[str] = set()
    for number, row in enumerate(rows, start=1):
        for key in row:
            if key not in known and key not in listed:
                listed.add(key)
                near = did_you_mean(key, [*space.parameters, *metrics, *KEYS])
                yield f"row {number}: {shown(key)}: unknown{near}"


def _read_row(
    row: Row, number: int, space: SearchSpace, metrics: tuple[str, ...], problems: list[str]
) -> _Report | None:
    """The report in a row; or None, and what is wrong with it is added to ``problems``."""
    before = len(problems)

    def tell(key: str, what: str) -> None:
        problems.append(f"row {number}: {key}: {what}")

    found = {name: _number(row, name, tell) for name in metrics if name in row}
    found["epoch"] = float(_epoch(row, space, tell))
    for name in _needed(space):
        if name not in row:
            tell(name, "missing; the objective needs it")
    mode = space.objective.mode
    if row.get("mode", mode) != mode:
        tell("mode", f"{shown(repr(row['mode']))}, but of {space.objective.score} it is {mode}")
    params = _params(row, space, tell)
    if len(problems) == before:
        _check_fixed(row, space, params, tell)
    right = len(problems) == before
    return _Report(number, params, row.get("seed"), found) if right else None


def _needed(space: SearchSpace) -> tuple[str, ...]:
    objective = space.objective
    bounded = (objective.of_weights(metric) for metric in objective.constraints)
    return tuple(dict.fromkeys([objective.score, *objective.pareto, *bounded]))


def _number(row: Row, name: str, tell: Tell) -> float:
    """A metric; text such as ``nan`` is a run that diverged."""
    value = row[name]
    try:
        if isinstance(value, bool):
            raise ValueError
        return float(value)
    except (TypeError, ValueError):
        tell(name, f"{shown(repr(value))}; must be a number, or nan of a run that diverged")
        return math.nan


def _epoch(row: Row, space: SearchSpace, tell: Tell) -> int:
    most = space.fidelity.max
    epoch = row.get("epoch", most)
    if type(epoch) is int and 1 <= epoch <= most:
        return epoch
    tell("epoch", f"{shown(repr(epoch))}; must be a whole number from 1 to fidelity.max, {most}")
    return most


def _params(row: Row, space: SearchSpace, tell: Tell) -> dict[str, Any]:
    """The flat config; what is not active must not be there."""
    values: dict[str, Any] = {}
    pinned: dict[str, Parameter] = {}
    for path, parameter in space.parameters.items():
        active, given = holds(parameter.when, values), _given(row.get(path), parameter)
        if not active and path in row:
            needs = " and ".join(f"{parent} is {value}" for parent, value in parameter.when.items())
            tell(path, f"{shown(repr(row[path]))}, but it is not active: only if {needs}")
        elif active and path not in row:
            tell(path, "missing, and it is active here")
        elif active and not parameter.contains(given):
            tell(path, f"{shown(repr(row[path]))}; must be {_allowed(path, parameter)}")
        elif active:
            values[path] = given
            pinned[path] = replace(parameter, prior=values[path])
            continue
        pinned[path] = parameter
    return replace(space, parameters=pinned).prior()


def _given(value: Any, parameter: Parameter) -> Any:
    """The value as the parameter has it: a file may write 1 for 1.0."""
    if isinstance(parameter, Float) and type(value) is int:
        return float(value)
    if isinstance(parameter, Simplex):
        numbers = isinstance(value, list) and all(type(one) in (int, float) for one in value)
        return tuple(map(float, value)) if numbers else None
    if isinstance(parameter, Categorical) and type(value) in (int, float):
        choices = (choice for choice in parameter.choices if type(choice) in (int, float))
        return next((choice for choice in choices if choice == value), value)
    return value


def _allowed(path: str, parameter: Parameter) -> str:
    if isinstance(parameter, Simplex):
        return f"{parameter.size} numbers of at least {parameter.low:g} that sum to 1"
    zero = " or 0" if isinstance(parameter, Float) and parameter.zero else ""
    return parameter.coordinates(path)[-1].allowed + zero


def _check_fixed(row: Row, space: SearchSpace, params: dict[str, Any], tell: Tell) -> None:
    """Fields that are not searched must be what the space trains with."""
    given = [key for key in row if key not in space.parameters and not _is_result(key)]
    if not given:
        return
    plain = leaves(space.config(params).to_plain())
    for key in given:
        if key not in plain:
            tell(key, f"{shown(repr(row[key]))}, but this config has no such field")
        elif plain[key] != row[key]:
            tell(key, f"{shown(repr(row[key]))}, but this space trains with {plain[key]!r}")


def _is_result(key: str) -> bool:
    return key in KEYS or key == DELTA_RATE or key.startswith("val_")


def _repeated(reports: list[_Report]) -> list[str]:
    """Rows that say something else of what an earlier row has said."""
    first: dict[str, int] = {}
    problems = []
    for report in reports:
        key = f"{_run(report)} {report.metrics['epoch']}"
        if key in first:
            problems.append(
                f"row {report.row}: epoch: the same config and epoch as row {first[key]}; a"
                " column seed tells runs of one config apart"
            )
        first.setdefault(key, report.row)
    return problems


def _run(report: _Report) -> str:
    """What rows of one run share."""
    return repr((sorted(report.params.items()), report.seed))


def _as_trials(reports: list[_Report], name: str, space: SearchSpace) -> list[TrialRecord]:
    """Each run as a trial that has ended."""
    runs: dict[str, list[_Report]] = {}
    for report in reports:
        runs.setdefault(_run(report), []).append(report)
    trials = []
    for number, rows in enumerate(runs.values()):
        curve = sorted((row.metrics for row in rows), key=lambda metrics: metrics["epoch"])
        diverged = not all(math.isfinite(curve[-1][metric]) for metric in _needed(space))
        whole = curve[-1]["epoch"] == space.fidelity.max
        trials.append(
            TrialRecord(
                id=f"{name}-{number:04d}",
                number=number,
                params=rows[0].params,
                state="failed" if diverged else "finished" if whole else "stopped",
                diverged=diverged,
                reports=curve,
            )
        )
    return trials
