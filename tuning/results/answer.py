"""The answer to a space's question, in words: what the best setting saves, and how sure that is.

First the best trial, the prior and the baseline in percent of rate (or in the objective's own
unit); then, for each searched choice, how many trials had each value, how far they went and the
best of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from tuning.ledger.records import TrialRecord
from tuning.results.confirm import Finalist, Spread
from tuning.results.image_error import ImageErrors
from tuning.results.outcome import ExperimentResult, at_common_epoch
from tuning.spaces.categorical import Categorical
from tuning.spaces.sections import DELTA_RATE
from tuning.spaces.space import SearchSpace
from tuning.spaces.wording import (
    count_text,
    difference_text,
    metric_name,
    metric_text,
    value_text,
)

SHOWN = ("val_rd_cost", "val_bpp", "val_psnr")  # beside the objective
LEVEL = 0.95  # of the intervals, two-sided


@dataclass(frozen=True)
class ChoiceRow:
    """One value of a searched choice."""

    value: str
    trials: int
    epochs: int  # the furthest that any of them went
    best: float | None  # the best score at that epoch
    trial: int | None  # that has it


def answer_lines(result: ExperimentResult) -> list[str]:
    """The answer; empty before any trial has a score."""
    if result.best is None:
        return []
    return [*_headline(result), *_certainty(result), *_choices(result)]


def _headline(result: ExperimentResult) -> list[str]:
    """Best, prior and baseline at one epoch."""
    space, best = result.info.space, result.best
    assert best is not None
    score = space.objective.score
    if not best.scored(score):
        reason = _undefined(result)
        return [f"no trial has a score: {reason}; the prior is exported" if reason else ""]
    shown, prior = at_common_epoch(best, result.prior, score)
    errors = ImageErrors(space, result.references)
    epoch = int(shown["epoch"])
    name = "the prior" if best.is_prior else f"trial {best.number}"
    text = f"at epoch {epoch}: {name} {_with_sign(score, shown[score])}{errors.text(shown)}"
    if not best.is_prior and score in prior:
        text += f", the prior {_with_sign(score, prior[score])}{errors.text(prior)}"
    if score == DELTA_RATE:
        text += ", against the baseline at equal quality (negative: less rate)"
    if errors.text(shown):
        text += "; ± is the standard error over the validation images"
    return [text]


def metric_rows(result: ExperimentResult, best: TrialRecord) -> list[tuple[str, str, str, str]]:
    """A table, its title first: each metric's name, the prior's value, the best trial's, how far
    they differ. Beside a value, after ±, is its standard error over the validation images.
    """
    score = result.info.space.objective.score
    shown, its = at_common_epoch(best, result.prior, score)
    errors = ImageErrors(result.info.space, result.references)
    rows = [
        (f"at epoch {int(shown['epoch'])}", "prior", f"best: trial {best.number}", "difference")
    ]
    for metric in dict.fromkeys((score, *SHOWN)):
        value, prior = shown.get(metric), its.get(metric)
        rows.append(
            (
                metric_name(metric),
                metric_text(metric, prior) + errors.text(its, metric),
                metric_text(metric, value) + errors.text(shown, metric),
                difference_text(metric, value, prior),
            )
        )
    return rows


def _certainty(result: ExperimentResult) -> list[str]:
    """Whether the difference is more than what another seed makes."""
    found, score = result.confirmation, result.info.space.objective.score
    if result.best is None or not result.best.scored(score):
        return []
    if found is None or found.best is None:
        return ["one seed: whether this is more than seeds differ by is not known (see confirm)"]
    against = [one for one in found.finalists if one.trial.role == "reference"]
    other = against[0] if against else found.finalists[0]
    if found.best.trial is other.trial:
        return ["no improvement found: the prior is the best by the mean over fresh seeds"]
    return [_verdict(found.best, other, score)]


def _verdict(best: Finalist, other: Finalist, score: str) -> str:
    difference = best.difference(other, score)
    name = "the baseline" if other.trial.role == "reference" else "the prior"
    if difference is None:
        return f"no seed has both the best trial and {name}: nothing is confirmed"
    low, high = interval(difference)
    seeds = count_text(len(difference.values), "fresh seed")
    text = f"on {seeds}, against {name}: {_with_sign(score, difference.mean)}"
    if len(difference.values) < 2:
        return f"{text}; one seed gives no interval"
    text += f" [{_with_sign(score, low)}, {_with_sign(score, high)}]"
    if low <= 0 <= high:
        return f"{text}: not distinguishable from what seeds differ by; no improvement found"
    return f"{text}: more than seeds differ by"


def interval(spread: Spread) -> tuple[float, float]:
    """A 95 % interval of the mean, by Student's t; the mean itself for one value."""
    deviation, n = spread.deviation, len(spread.values)
    if deviation is None:
        return spread.mean, spread.mean
    from scipy.stats import t as student

    half = float(student.ppf((1 + LEVEL) / 2, n - 1)) * deviation / sqrt(n)
    return spread.mean - half, spread.mean + half


def _undefined(result: ExperimentResult) -> str:
    """Why no trial has a score, as far as the reference runs say it."""
    failed = [run for run in result.references if run.state == "failed"]
    if failed:
        return f"the reference run of lmbda {failed[0].lmbda:g} failed: {failed[0].reason}"
    return "none came within the range of the reference curve, or there is no curve"


def _choices(result: ExperimentResult) -> list[str]:
    """A line for each searched choice that more than one trial had a value of."""
    space, lines = result.info.space, []
    for path, parameter in space.parameters.items():
        if isinstance(parameter, Categorical):
            rows = choice_rows(result.trials, space, path)
            if len(rows) > 1:
                score = space.objective.score
                texts = [
                    f"{row.value} {_with_sign(score, row.best)} ({count_text(row.trials, 'trial')},"
                    f" epoch {row.epochs})"
                    for row in rows
                ]
                lines.append(f"{path}: {', '.join(texts)}")
    return lines


def choice_rows(trials: Sequence[TrialRecord], space: SearchSpace, path: str) -> list[ChoiceRow]:
    """What became of each value of a choice, the best first."""
    score, sign = space.objective.score, space.objective.sign
    by_value: dict[str, list[TrialRecord]] = {}
    for trial in trials:
        values = space.values(trial.params)
        if path in values:
            by_value.setdefault(value_text(values[path]), []).append(trial)
    rows = []
    for value, there in by_value.items():
        scored = [(int(t.scored(score)["epoch"]), t) for t in there if t.scored(score)]
        furthest = max((epoch for epoch, _ in scored), default=max(t.epochs for t in there))
        level = [(sign * t.scored(score)[score], t.number) for e, t in scored if e == furthest]
        best, number = min(level, default=(None, None))
        rows.append(
            ChoiceRow(value, len(there), furthest, None if best is None else sign * best, number)
        )
    return sorted(
        rows, key=lambda r: (-r.epochs, float("inf") if r.best is None else sign * r.best)
    )


def _with_sign(score: str, value: float | None) -> str:
    if value is None:
        return "without a score"
    if score == DELTA_RATE:
        return f"{value:+.2f} %"
    return f"{metric_name(score)} {metric_text(score, value)}"
