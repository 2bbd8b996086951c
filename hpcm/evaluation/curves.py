"""Points of several checkpoints as one rate-distortion curve, averaged over their seeds."""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import replace
from typing import Any

from hpcm.evaluation.results import Results, Row
from hpcm.schema import ConfigError


def join(points: list[Results], name: str) -> Results:
    """One curve from results on the same images, lowest rate first; seeds stay apart.

    Raises :class:`ConfigError` if sets, conditions or metrics differ: such points do not mix.
    """
    first = points[0]
    for other in points[1:]:
        for what in ("dataset", "conditions"):
            if getattr(other, what) != getattr(first, what):
                raise ConfigError(
                    f"{other.name}: {what} {getattr(other, what)!r} differs from "
                    f"{getattr(first, what)!r} of {first.name}; such points make no curve"
                )
        if other.results.keys() != first.results.keys():
            raise ConfigError(f"{other.name}: metrics differ from those of {first.name}")
    counted, rows = 0, []
    for point in points:
        rows += [{**row, "point": int(row["point"]) + counted} for row in point.images]
        counted += len(point.results["bpp"])
    merged = {key: [v for point in points for v in point.results[key]] for key in first.results}
    order = sorted(range(counted), key=lambda index: merged["bpp"][index])
    sources = [source for point in points for source in point.points]
    return replace(
        first,
        name=name,
        results={key: [values[index] for index in order] for key, values in merged.items()},
        points=[sources[index] for index in order] if len(sources) == counted else sources,
        images=[{**row, "point": order.index(int(row["point"]))} for row in rows],
    )


def over_seeds(curve: Results) -> Results:
    """The curve with one point per lmbda, the mean of its seeds; as it is if no lmbda repeats.

    Each point keeps what its trainings have in common; if they differ, the list of their values
    (``seed``, ``config_digest``), in order of seed, and ``sd``, the standard deviation between
    seeds of every metric. The rows per image keep their own values and get their ``seed``.

    Raises :class:`ConfigError` if a seed lacks a point that another has, if two points have the
    same lmbda and seed, and if points were trained for different metrics.
    """
    trained_for = sorted({str(p["metric"]) for p in curve.points if "metric" in p})
    if len(trained_for) > 1:
        raise ConfigError(
            f"{curve.name}: points trained for {' and '.join(trained_for)} make no curve; evaluate "
            "them into two files"
        )
    runs: list[tuple[Any, Any]] = [(p.get("lmbda"), p.get("seed")) for p in curve.points]
    plain = all(isinstance(v, int | float) for run in runs for v in run)
    if not plain or len(runs) != len(curve.results["bpp"]):
        return curve
    lmbdas = Counter(lmbda for lmbda, _ in runs)
    if max(lmbdas.values()) == 1:
        return curve
    _check_grid(curve.name, runs)
    members = [
        sorted((i for i, run in enumerate(runs) if run[0] == lmbda), key=lambda i: runs[i][1])
        for lmbda in lmbdas
    ]
    members.sort(key=lambda group: statistics.fmean(curve.results["bpp"][i] for i in group))
    return replace(
        curve,
        results={
            key: [statistics.fmean(values[i] for i in group) for group in members]
            for key, values in curve.results.items()
        },
        points=[_point(curve, group) for group in members],
        images=_rows(curve, members),
    )


def _check_grid(name: str, runs: list[tuple[Any, Any]]) -> None:
    """Every seed at every lmbda, once."""
    (lmbda, seed), count = Counter(runs).most_common(1)[0]
    if count > 1:
        raise ConfigError(
            f"{name}: {count} points have lmbda {lmbda} and seed {seed}; they are different "
            "trainings, so evaluate them into different files"
        )
    for lmbda in sorted({lmbda for lmbda, _ in runs}):
        for seed in sorted({seed for _, seed in runs}):
            if (lmbda, seed) not in runs:
                raise ConfigError(
                    f"{name}: seed {seed} has no point at lmbda {lmbda}; evaluate that one too, or "
                    f"leave seed {seed} out"
                )


def _point(curve: Results, group: list[int]) -> dict[str, Any]:
    sources = [curve.points[i] for i in group]
    point: dict[str, Any] = {}
    for key in dict.fromkeys(key for source in sources for key in source):
        values = [source.get(key) for source in sources]
        point[key] = values[0] if all(value == values[0] for value in values) else values
    spread = {k: statistics.stdev(v[i] for i in group) for k, v in curve.results.items()}
    return {**point, "seed": [source["seed"] for source in sources], "sd": spread}


def _rows(curve: Results, members: list[list[int]]) -> list[Row]:
    place = {old: new for new, group in enumerate(members) for old in group}
    return [
        {"seed": curve.points[old]["seed"], **row, "point": place[old]}
        for row in curve.images
        for old in [int(row["point"])]
    ]
