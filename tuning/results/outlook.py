"""What the trials that are left may gain, compared with the noise of scores: `budget.stop`.

Gain: what the last doubling of the search gained, that is, by how much the best of the first half
of the N trials is worse than the best of all. If the mean of that over all orders of the trials is
more, it counts instead: the actual order may have been lucky. If the chance to come within d of the
best config falls as a power of d, the excess of the best of N trials falls as a power of N, and
each doubling gains less than the one before. So m more trials gain at most log2(1 + m / N) of it.

Noise: how far scores are from a straight line through their neighbours, at the end of whole runs:
the standard deviation of s(t - 1) - 2 s(t) + s(t + 1), over the root of 6. Another seed moved
scores by about as much (docs/log.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, median

from tuning.ledger.records import TrialRecord
from tuning.results.constraints import feasible
from tuning.spaces.draws import total_trials
from tuning.spaces.space import SearchSpace
from tuning.spaces.wording import count_text, size_text

LEAST = 6  # whole trials; with fewer nothing is said
NEWEST = 5  # scores of a run that tell its noise


@dataclass(frozen=True)
class Outlook:
    """What is known of more trials; gain and noise in the objective's unit, 0 or more."""

    trials: int  # that were compared
    left: int  # of the budget, 1 or more
    gain: float  # expected at most, of all that are left
    noise: float  # standard deviation of a score

    @property
    def below_noise(self) -> bool:
        """Whether the gain is too small to tell it from the effect of a seed."""
        return self.gain < self.noise

    def text(self, space: SearchSpace) -> str:
        """The outlook in a sentence."""
        score = space.objective.score
        gain, noise = (size_text(score, value) for value in (self.gain, self.noise))
        left = count_text(self.left, "trial")
        return f"{left} more would gain {gain} at most on average; scores move by {noise} (sd)"


def outlook(trials: Sequence[TrialRecord], space: SearchSpace) -> Outlook | None:
    """The outlook after the search's trials so far; None if too few are whole, or none is left."""
    left, score = total_trials(space) - len(trials), space.objective.score
    sign = space.objective.sign
    compared = [trial for trial in trials if trial.ended or trial.paused]
    whole = [
        trial
        for trial in compared
        if trial.scored(score).get("epoch") == space.fidelity.max and trial.state != "failed"
    ]
    scores = {
        trial.number: sign * trial.scored(score)[score]
        for trial in whole
        if feasible(trial, space.objective)
    }
    moves = [found for trial in whole if (found := move(trial, score)) is not None]
    if left <= 0 or len(scores) < LEAST or len(moves) < LEAST:
        return None
    first = {trial.number for trial in compared[: len(compared) // 2]} & scores.keys()
    before = min((scores[number] for number in first), default=max(scores.values()))
    doubling = before - min(scores.values())
    doubling = max(doubling, last_doubling(list(scores.values()), len(compared)))
    gain = doubling * math.log2(1 + left / len(compared))
    return Outlook(len(compared), left, gain, median(moves))


def wants_more(trials: Sequence[TrialRecord], space: SearchSpace) -> bool:
    """Whether a search of ``trials`` has another one to begin, by its budget and `budget.stop`."""
    return len(trials) < total_trials(space) and not ends_by_noise(trials, space)


def ends_by_noise(trials: Sequence[TrialRecord], space: SearchSpace) -> bool:
    """Whether `budget.stop` ends the search here; trials that still run may change that."""
    found = outlook(trials, space) if space.budget.stop == "noise" else None
    return found is not None and found.below_noise


def outlook_lines(trials: Sequence[TrialRecord], space: SearchSpace) -> list[str]:
    """What to do about it, for a summary; empty if nothing is known."""
    found = outlook(trials, space) if space.ranks_trials else None
    if found is None:
        return []
    if not found.below_noise:
        return [found.text(space)]
    if space.budget.stop == "noise":
        return [f"{found.text(space)}: the search begins no more (budget.stop: noise)"]
    return [f"{found.text(space)}: budget.stop=noise would begin no more"]


def last_doubling(scores: Sequence[float], trials: int) -> float:
    """By how much the best of a random half of ``trials`` is worse than the best of all, mean.

    ``scores``: of the whole ones, smaller is better; the others are worse than these.
    """
    ranked, half = sorted(scores), trials // 2
    none, mean = 1.0, 0.0  # the probability that the half has none of those so far
    for place, value in enumerate(ranked):
        taken = half / (trials - place)
        mean += none * min(1.0, taken) * value
        none *= max(0.0, 1 - taken)
    return mean + none * ranked[-1] - ranked[0]


def move(trial: TrialRecord, score: str) -> float | None:
    """The noise of one run; None if it has too few scores, or they are not evenly apart."""
    scored = [report for report in trial.reports if score in report][-NEWEST:]
    gaps = {b["epoch"] - a["epoch"] for a, b in pairwise(scored)}
    if len(scored) < 3 or len(gaps) > 1:
        return None
    values = [report[score] for report in scored]
    bends = [a - 2 * b + c for a, b, c in zip(values, values[1:], values[2:], strict=False)]
    return math.sqrt(fmean(bend**2 for bend in bends) / 6)
