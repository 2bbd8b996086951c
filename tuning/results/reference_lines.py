"""The reference runs in words: which there are, where they make a curve, and why not elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from tuning.ledger.records import TrialRecord
from tuning.ledger.reference_curve import ReferenceCurve, References
from tuning.spaces.space import SearchSpace
from tuning.spaces.wording import count_text


def reference_lines(
    runs: Sequence[TrialRecord], trials: Sequence[TrialRecord], space: SearchSpace
) -> list[str]:
    """What a person should know of the reference ``runs``; empty if trials need none."""
    if not space.reference_lmbdas():
        return []
    if not runs:
        return ["reference runs: none has begun"]
    most = space.fidelity.max
    earlier = space.objective.reference.experiment
    states = "; ".join(_state(run, most) for run in runs)
    lines = [f"reference runs{f' of {earlier}' if earlier else ''}: {states}"]
    curves = _curves(runs, space)
    reasons: dict[str, list[int]] = {}
    for epoch, curve in curves.items():
        if curve.reason is not None:
            reasons.setdefault(curve.reason, []).append(epoch)
    for reason, epochs in reasons.items():
        word = "epoch" if len(epochs) == 1 else "epochs"
        lines.append(f"no reference curve at {word} {', '.join(map(str, epochs))}: {reason}")
    defined = [epoch for epoch, curve in curves.items() if curve.defined]
    if defined:
        lines += _curve_lines(curves[defined[-1]], defined[-1], trials, space)
    return lines


def _state(run: TrialRecord, most: int) -> str:
    text = f"lmbda {run.lmbda:g} (trial {run.number})"
    if run.state == "failed":
        return f"{text} failed: {run.reason or 'no reason recorded'}"
    if run.state == "finished":
        return f"{text} finished"
    return f"{text} {run.status}, epoch {run.epochs}/{most}"


def _curves(runs: Sequence[TrialRecord], space: SearchSpace) -> dict[int, ReferenceCurve]:
    """The curve, or why there is none, by rung that all runs have reached."""
    rate, quality = space.compared
    references = References(rate, quality, {run.number: run.lmbda or 0.0 for run in runs})
    for run in runs:
        for report in run.reports:
            references.report(run.number, report)
        if run.state == "failed":
            references.fail(run.number, run.epochs, run.reason or "it failed")
    found = {epoch: references.curve(epoch) for epoch in space.rungs()}
    return {epoch: curve for epoch, curve in found.items() if curve is not None}


def _curve_lines(
    curve: ReferenceCurve, epoch: int, trials: Sequence[TrialRecord], space: SearchSpace
) -> list[str]:
    """What the curve spans, and who is beyond it."""
    low, high = curve.points[0], curve.points[-1]
    least, most = curve.range()
    lines = [
        f"reference curve at epoch {epoch}: {low.rate:.4f} to {high.rate:.4f} bpp,"
        f" {low.quality:.2f} to {high.quality:.2f} dB, prolonged to {least:.2f} and {most:.2f} dB"
    ]
    quality = space.compared[1]
    reports = {trial.number: trial.report_at(epoch) for trial in trials}
    beyond = [
        f"trial {number} ({report[quality]:.2f} dB)"
        for number, report in reports.items()
        if report is not None and quality in report and space.objective.score not in report
    ]
    if beyond:
        have = "has" if len(beyond) == 1 else "have"
        lines.append(
            f"{count_text(len(beyond), 'trial')} beyond that {have} no score at epoch {epoch}:"
            f" {', '.join(beyond)}"
        )
    return lines
