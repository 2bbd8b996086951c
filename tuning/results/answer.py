"""The answer to a space's question, in words: what the best setting saves, and how sure that is.

First the best trial, the prior and the baseline in percent of rate (or in the objective's own
unit); then, for each searched choice, how many trials had each value, how far they went and the
best of each.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt

from tuning.ledger.folders import command_text
from tuning.ledger.records import TrialRecord
from tuning.results.confirm import Confirmation, Finalist, Spread
from tuning.results.image_error import ImageErrors
from tuning.results.outcome import ExperimentResult, at_common_epoch
from tuning.spaces.categorical import Categorical
from tuning.spaces.confirm_checks import check_confirm
from tuning.spaces.sections import DELTA_RATE, Objective
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
FINALISTS = 2  # that the printed command trains again


@dataclass(frozen=True)
class ChoiceRow:
    """One value of a searched choice."""

    value: str
    trials: int
    epochs: int  # the furthest that any of them went
    best: float | None  # the best score at that epoch
    trial: int | None  # that has it


def answer_lines(result: ExperimentResult) -> list[str]:
    """The answer, or why there is none before the reference runs have ended; else empty."""
    if result.best is None:
        return _waiting(result)
    return [*_headline(result), *_certainty(result), *_choices(result)]


def _waiting(result: ExperimentResult) -> list[str]:
    """A line if no trial can have a score at the end yet: reference runs have not ended."""
    runs = result.references
    left = sum(not run.ended for run in runs)
    if not left:
        return []
    return [f"no answer yet: {len(runs) - left} of {count_text(len(runs), 'reference run')} ended"]


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
    text = f"{_not_beaten(result, shown[score])}at epoch {epoch}: {name}"
    text += f" {_score_text(score, shown[score])}{errors.text(shown)}"
    if not best.is_prior and score in prior:
        text += f", the prior {_score_text(score, prior[score])}{errors.text(prior)}"
    if score == DELTA_RATE:
        text += ", against the baseline at equal quality (negative: less rate)"
    if errors.text(shown):
        text += "; ± is the standard error over the validation images"
    return [text]


def _not_beaten(result: ExperimentResult, score: float) -> str:
    """The beginning of the answer if no trial needs less rate than the baseline.

    By the mean over fresh seeds if there are some, else by ``score``, the best trial's own.
    """
    if result.info.space.objective.score != DELTA_RATE:
        return ""
    found, where = result.confirmation, "; "
    if found is not None and found.best is not None:
        difference = found.best.difference(_compared_with(found), DELTA_RATE)
        if difference is not None and _compared_with(found).trial.role == "reference":
            score = difference.mean
            where = " on fresh seeds; on the search's own seed, "
    return f"No trial beat the baseline{where}" if score >= 0 else ""


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
        text = "one seed: other seeds may differ by more than this"
        return [f"{text}{_how_to_confirm(result)}"]
    other = _compared_with(found)
    if found.best.trial is other.trial:
        return ["no improvement found: the prior is the best by the mean over fresh seeds"]
    return [_verdict(found.best, other, result.info.space.objective)]


def _how_to_confirm(result: ExperimentResult) -> str:
    """The command that trains the finalists on fresh seeds, for a search that asked for none."""
    info, space = result.info, result.info.space
    if not result.complete or info.simulated or space.confirm.top:
        return ""
    own = space.base.get("seed", 0)
    seeds = [seed for seed in (1, 2, 3) if seed != own][:2]
    asked = replace(space, confirm=replace(space.confirm, top=FINALISTS, seeds=tuple(seeds)))
    if any(check_confirm(asked)):
        return ""
    command = command_text(f"{space.command} --resume", info.directory)
    keys = shlex.join([f"confirm.top={FINALISTS}", f"confirm.seeds={seeds}".replace(" ", "")])
    return f"; to know, train the best {FINALISTS} on other seeds: {command} --set {keys}"


def _compared_with(found: Confirmation) -> Finalist:
    """The baseline if it was trained on the fresh seeds too, else the prior."""
    against = [one for one in found.finalists if one.trial.role == "reference"]
    return against[0] if against else found.finalists[0]


def _verdict(best: Finalist, other: Finalist, objective: Objective) -> str:
    score = objective.score
    difference = best.difference(other, score)
    name = "the baseline" if other.trial.role == "reference" else "the prior"
    if difference is None:
        return f"no seed has both the best trial and {name}: nothing is confirmed"
    low, high = interval(difference)
    seeds = count_text(len(difference.values), "fresh seed")
    text = f"on {seeds}, against {name}: {_score_text(score, difference.mean)}"
    if len(difference.values) < 2:
        return f"{text}; one seed gives no interval"
    text += f" [{_score_text(score, low)}, {_score_text(score, high)}]"
    if low <= 0 <= high:
        return f"{text}: not distinguishable from what seeds differ by; no improvement found"
    worse = "" if objective.sign * difference.mean < 0 else "worse, by "
    return f"{text}: {worse}more than seeds differ by"


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
                    f"{row.value} {_score_text(score, row.best)}"
                    f" ({count_text(row.trials, 'trial')}, epoch {row.epochs})"
                    for row in rows
                ]
                lines.append(f"{path}, the best of each: {', '.join(texts)}")
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


def _score_text(score: str, value: float | None) -> str:
    if value is None:
        return "without a score"
    text = metric_text(score, value)
    return text if score == DELTA_RATE else f"{metric_name(score)} {text}"
