"""What one parameter does to the score, over all trials that came to one epoch; edges of ranges.

The epoch is one that many trials have: if a scheduler stops trials, those that went further are
only the good ones, and what they have in common explains nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from tuning.ledger.records import TrialRecord
from tuning.spaces.coordinates import Coordinate
from tuning.spaces.parameters import Simplex
from tuning.spaces.space import SearchSpace
from tuning.spaces.wording import value_text

MOST_GROUPS = 5  # of trials along a parameter, whose medians are its trend
EDGE = 0.05  # of a range, on the scale on which it is drawn
SHARE = 0.5  # of the trials at the most frequent rung that an epoch must have


def scores_at(trials: Sequence[TrialRecord], space: SearchSpace, epoch: int) -> dict[int, float]:
    """The finite scores of an epoch by trial, as reported."""
    score = space.objective.score
    reports = ((trial.number, trial.report_at(epoch) or {}) for trial in trials)
    return {
        number: report[score]
        for number, report in reports
        if math.isfinite(report.get(score, math.nan))
    }


def common_epoch(trials: Sequence[TrialRecord], space: SearchSpace) -> int | None:
    """The latest rung whose scores are at least half as many as those of any rung.

    None before any trial has a score at a rung.
    """
    if not space.ranks_trials:
        return None
    counts = {rung: len(scores_at(trials, space, rung)) for rung in space.rungs()}
    most = max(counts.values())
    return max((rung for rung, n in counts.items() if n and n >= SHARE * most), default=None)


@dataclass(frozen=True)
class EdgeHit:
    """A parameter whose best value lies at an end of its range."""

    path: str
    value: float
    low: float
    high: float
    upper: bool

    def __str__(self) -> str:
        side = "upper" if self.upper else "lower"
        ends = f"{value_text(self.low)} to {value_text(self.high)}"
        return (
            f"{self.path}: the best value, {value_text(self.value)}, lies at the {side} edge of its"
            f" range ({ends}); a wider one may hold a better"
        )


def edge_hits(best: TrialRecord, space: SearchSpace) -> list[EdgeHit]:
    """Numbers of the best trial in the outer 5 % of their ranges.

    Shares of a simplex are left out, for their ends are no choice of the file, and so is a range
    whose end is the field's own.
    """
    hits = []
    for path, parameter in space.parameters.items():
        if isinstance(parameter, Simplex):
            continue
        for coordinate in parameter.coordinates(path):
            value = best.params.get(coordinate.path)
            if coordinate.path == path and _is_number(value) and _is_range(coordinate):
                share = coordinate.share(value)  # type: ignore[arg-type]
                if share < EDGE or share > 1 - EDGE:
                    assert coordinate.low is not None
                    assert coordinate.high is not None
                    hits.append(
                        EdgeHit(path, value, coordinate.low, coordinate.high, share > 1 - EDGE)  # type: ignore[arg-type]
                    )
    return hits


def trend(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Medians of (value, score) in groups of equal size along the value; needs two of each group.

    Empty if there are fewer than two groups.
    """
    ordered = sorted(points)
    count = min(MOST_GROUPS, len(ordered) // 3)
    if count < 2:
        return []
    cuts = [round(k * len(ordered) / count) for k in range(count + 1)]
    groups = [ordered[low:high] for low, high in zip(cuts, cuts[1:], strict=False)]
    return [(median(x for x, _ in group), median(y for _, y in group)) for group in groups]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_range(coordinate: Coordinate) -> bool:
    has_width = coordinate.type == "float" or (
        coordinate.type == "int"
        and coordinate.low is not None
        and coordinate.high is not None
        and coordinate.high - coordinate.low > 1 / EDGE
    )
    return has_width and coordinate.split is None
