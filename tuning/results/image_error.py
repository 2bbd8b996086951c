"""How far another draw of validation images would move a score: its standard error over images.

A metric of a report has its own (`val_bpp_se`). A rate difference is of a trial and of reference
runs on the same images, and what is hard for one is hard for all, so it is computed anew without
each of eight parts of the images (delete-a-group jackknife; Shao and Tu 1995, The Jackknife and
Bootstrap):

    se^2 = (g - 1) / g sum_i (delta_i - mean delta)^2
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count, takewhile
from math import sqrt

from tuning.ledger.records import TrialRecord
from tuning.ledger.reference_curve import RatePoint, ReferenceCurve
from tuning.spaces.sections import DELTA_RATE
from tuning.spaces.space import SearchSpace
from tuning.spaces.wording import UNITS

Report = Mapping[str, float]
Point = tuple[float, float]  # rate, quality


class ImageErrors:
    """The errors of one experiment's scores; its reference runs are ``runs``."""

    def __init__(self, space: SearchSpace, runs: Sequence[TrialRecord]) -> None:
        self._metric, self._runs = space.objective.score, runs
        self._compared = space.compared if runs else ("", "")
        self._curves: dict[int, list[ReferenceCurve]] = {}  # by epoch, without each part

    def of(self, report: Report, metric: str | None = None) -> float | None:
        """The error of ``metric``, by default the objective's, in its unit; None if not known."""
        metric = self._metric if metric is None else metric
        if metric != DELTA_RATE:
            return report.get(f"{metric}_se")
        points = self._without_each(report)
        curves = self._curves_at(int(report["epoch"])) if points else []
        if not points or len(points) != len(curves) or metric not in report:
            return None
        values = [c.delta_rate(*point) for c, point in zip(curves, points, strict=True)]
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            return None
        mean, parts = sum(known) / len(known), len(known)
        return sqrt((parts - 1) / parts * sum((value - mean) ** 2 for value in known))

    def text(self, report: Report, metric: str | None = None) -> str:
        """`` ± 0.31``, or nothing if it is not known."""
        error = self.of(report, metric)
        if error is None:
            return ""
        return f" ± {error:.{2 if (metric or self._metric) in UNITS else 4}f}"

    def _curves_at(self, epoch: int) -> list[ReferenceCurve]:
        if epoch not in self._curves:
            reports = [(run.lmbda or 0.0, run.report_at(epoch) or {}) for run in self._runs]
            points = [(lmbda, self._without_each(report)) for lmbda, report in reports]
            parts = min((len(there) for _, there in points), default=0)
            self._curves[epoch] = [
                ReferenceCurve.through([RatePoint(lmbda, *there[i]) for lmbda, there in points])
                for i in range(parts)
            ]
        return self._curves[epoch]

    def _without_each(self, report: Report) -> list[Point]:
        """Rate and quality of all parts of the images but one, for each; empty without parts."""
        names = takewhile(
            lambda pair: all(name in report for name in pair),
            ([f"part{part}_{metric}" for metric in self._compared] for part in count(1)),
        )
        found = [[report[name] for name in pair] for pair in names]
        if len(found) < 2:
            return []
        rate, quality = (sum(column) for column in zip(*found, strict=True))
        rest = len(found) - 1
        return [((rate - r) / rest, (quality - q) / rest) for r, q in found]
