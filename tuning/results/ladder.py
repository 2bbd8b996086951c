"""The results of a ladder: a curve per config on each test set, and the BD-rate between them.

Below the experiment's folder lie, for each test set and kind of rate,
``ladder/<set>-<rate>/runs/<trial>.json`` (one run, scored), ``ladder/<set>-<rate>/<config>.json``
(the curve, CompressAI's schema) and the plot; and ``ladder/verdict.json``, what reports show.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from hpcm.atomic_files import write_atomically
from hpcm.evaluation.bd_rate import BDRateError
from hpcm.evaluation.comparison import (
    Comparison,
    Refused,
    compare_or_refuse,
    mean_over_sets,
)
from hpcm.evaluation.curves import join, over_seeds
from hpcm.evaluation.interval import Interval
from hpcm.evaluation.rate_difference import RateDifference, rate_differences, sign_change
from hpcm.evaluation.results import Results
from hpcm.evaluation.scores import METRICS, points_of
from hpcm.files import read_json
from hpcm.schema import ConfigError
from tuning.ledger.records import TrialRecord
from tuning.spaces.ladder_space import CONFIG, LMBDA, SEED, LadderSpace

FOLDER = "ladder"  # of an experiment
VERDICT = "verdict.json"
KIND = "the verdict of a ladder"
ENOUGH = 4  # points that a BD-rate needs
Cell = tuple[int, float]  # seed and lmbda


@dataclass(frozen=True)
class Judged:
    """The ladder on one test set."""

    folder: Path
    curves: dict[str, Results]  # by config, the anchor first; empty: no lmbda is complete
    left_out: list[str]  # runs that are in no curve, each with the reason

    @property
    def files(self) -> list[Path]:
        """The results files, the anchor's first."""
        return [self.folder / f"{name}.json" for name in self.curves]

    @property
    def pairs(self) -> list[tuple[Results, Results]]:
        """The anchor with each other curve."""
        curves = list(self.curves.values())
        return [(curves[0], other) for other in curves[1:]]

    @cached_property
    def comparisons(self) -> list[Comparison | Refused]:
        """The BD-rate of each pair in each metric that both have."""
        return [
            compare_or_refuse(anchor, other, metric, "pchip")
            for anchor, other in self.pairs
            for metric in METRICS
            if _has(anchor, metric) and _has(other, metric)
        ]


def set_folder(directory: Path, dataset: str, real: bool) -> Path:
    """Where the scores of a test set are."""
    return directory / FOLDER / f"{dataset}-{'real' if real else 'estimated'}"


def run_file(folder: Path, number: int) -> Path:
    """The scores of one run."""
    return folder / "runs" / f"{number:04d}.json"


def judge(folder: Path, space: LadderSpace, trials: Sequence[TrialRecord]) -> Judged:
    """Join the scored runs of a test set to one curve per config, and write the curves.

    A curve needs every seed at every lmbda: runs that cannot be in it are listed with the reason.
    """
    scored = {
        (t.params[CONFIG], (t.params[SEED], t.params[LMBDA])): t
        for t in trials
        if run_file(folder, t.number).is_file()
    }
    whole = [
        (seed, lmbda)
        for seed in space.seeds
        for lmbda in space.lmbdas
        if all((name, (seed, lmbda)) in scored for name in space.names)
    ]
    kept = largest_grid(whole)
    curves = {}
    for name in space.names if kept else ():
        points = [
            Results.load(run_file(folder, scored[name, cell].number)) for cell in sorted(kept)
        ]
        curves[name] = over_seeds(join([replace(point, name=name) for point in points], name))
        curves[name].save(folder / f"{name}.json")
    return Judged(folder, curves, _left_out(space, trials, kept))


def largest_grid(cells: Sequence[Cell]) -> set[Cell]:
    """The seeds and lmbda, every seed with every lmbda, that make the best curve of ``cells``.

    First as many lmbda as a BD-rate needs, then as many runs as there are.
    """
    there: dict[int, set[float]] = {}
    for seed, lmbda in cells:
        there.setdefault(seed, set()).add(lmbda)
    ranked = sorted(there, key=lambda seed: -len(there[seed]))
    best: set[Cell] = set()
    for count in range(1, len(ranked) + 1):
        seeds = ranked[:count]
        lmbdas = set.intersection(*(there[seed] for seed in seeds))
        grid = {(seed, lmbda) for seed in seeds for lmbda in lmbdas}
        if _worth(grid) > _worth(best):
            best = grid
    return best


def _worth(grid: set[Cell]) -> tuple[int, int]:
    return min(ENOUGH, len({lmbda for _, lmbda in grid})), len(grid)


def _left_out(space: LadderSpace, trials: Sequence[TrialRecord], kept: set[Cell]) -> list[str]:
    by_run = {(t.params[CONFIG], t.params[SEED], t.params[LMBDA]): t for t in trials}
    lines = []
    for flat in space.runs():
        if (flat[SEED], flat[LMBDA]) in kept:
            continue
        run = by_run.get((flat[CONFIG], flat[SEED], flat[LMBDA]))
        name = f"{flat[CONFIG]} at lmbda {flat[LMBDA]:g}, seed {flat[SEED]}"
        lines.append(f"{name}: {_reason(run)}")
    return lines


def _reason(run: TrialRecord | None) -> str:
    if run is None:
        return "not begun"
    match run.state:
        case "finished":
            return "trained, but another config or seed has no run there"
        case "failed":
            return f"failed (trial {run.number}): {run.reason or 'no reason recorded'}"
        case _:
            return f"{run.status} at epoch {run.epochs} (trial {run.number})"


# --- what reports show ---------------------------------------------------------------------------


def verdict_data(space: LadderSpace, judged: Sequence[Judged]) -> dict[str, Any]:
    """Every number of the ladder as plain data."""
    return {
        "configs": list(space.names),
        "lmbdas": sorted(space.lmbdas),
        "seeds": list(space.seeds),
        "epochs": space.fidelity.max,
        "sets": [_set_data(one) for one in judged],
        "means": [
            {**_names(mean), "dataset": mean.dataset, **_bd_data(mean)} for mean in means(judged)
        ],
    }


def means(judged: Sequence[Judged]) -> list[Comparison]:
    """The means over the sets, if there are several."""
    rows = [row for one in judged for row in one.comparisons if isinstance(row, Comparison)]
    return [
        mean
        for metric in METRICS
        for mean in mean_over_sets([row for row in rows if row.metric == metric])
    ]


def write_verdict(directory: Path, data: Mapping[str, Any]) -> None:
    """Keep it in the experiment's folder. Raises OSError."""
    (directory / FOLDER).mkdir(exist_ok=True)
    write_atomically(directory / FOLDER / VERDICT, json.dumps(data, indent=1).encode())


def read_verdict(directory: Path) -> dict[str, Any] | None:
    """What was written; None: nothing was judged yet. Raises :class:`ConfigError`."""
    path = directory / FOLDER / VERDICT
    if not path.is_file():
        return None
    found = read_json(path, KIND)
    if not isinstance(found, dict) or "sets" not in found:
        raise ConfigError(f"{path}: not {KIND}")
    return found if "means" in found else _renewed(found)


def _renewed(verdict: dict[str, Any]) -> dict[str, Any]:
    """The verdict of an earlier version, which kept how much rate was saved, with our signs."""
    for one in verdict["sets"]:
        for metric in one["metrics"]:
            metric["differences"] = metric.pop("savings")
            for row in metric["differences"]:
                ends, saved = row["interval"], row["percent"]
                row["percent"] = None if saved is None else -saved
                row["interval"] = [-ends[1], -ends[0]] if ends else None
    return {**verdict, "means": []}


def _set_data(judged: Judged) -> dict[str, Any]:
    data: dict[str, Any] = {
        "folder": judged.folder.name,
        "left_out": judged.left_out,
        "curves": [],
        "metrics": [],
    }
    if not judged.curves:
        return data
    anchor = next(iter(judged.curves.values()))
    data["dataset"], data["conditions"] = anchor.dataset, anchor.conditions
    data["curves"] = [
        {"name": one.name, "results": one.results, "points": one.points}
        for one in judged.curves.values()
    ]
    data["metrics"] = [_metric_data(judged.curves, row) for row in judged.comparisons]
    return data


def _has(results: Results, metric: str) -> bool:
    try:
        points_of(results, metric)
    except BDRateError:
        return False
    return True


def _metric_data(curves: Mapping[str, Results], row: Comparison | Refused) -> dict[str, Any]:
    try:
        found = rate_differences(curves[row.anchor], curves[row.test], row.metric)
    except BDRateError:
        found = []
    return {
        **_names(row),
        **_bd_data(row),
        "differences": [_difference_data(one) for one in found],
        "sign_change": sign_change(found),
    }


def _names(row: Comparison | Refused) -> dict[str, str]:
    return {"anchor": row.anchor, "test": row.test, "metric": row.metric}


def _bd_data(row: Comparison | Refused) -> dict[str, Any]:
    if isinstance(row, Refused):
        return {"bd_rate": None, "refused": row.error.reason, "advice": row.error.advice}
    return {
        "bd_rate": row.bd_rate,
        "bd_quality": row.bd_quality,
        "low": row.low,
        "high": row.high,
        "no_interval": row.no_interval,
        **_interval_data(row.interval),
    }


def _difference_data(one: RateDifference) -> dict[str, Any]:
    return {
        "label": one.label,
        "lmbda": one.lmbda,
        "quality": one.quality,
        "percent": one.percent,
        "extended": one.extended,
        **_interval_data(one.interval),
    }


def _interval_data(interval: Interval | None) -> dict[str, Any]:
    if interval is None:
        return {"interval": None}
    return {"interval": list(interval.ends), "basis": interval.basis}
