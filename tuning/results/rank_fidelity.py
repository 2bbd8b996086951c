"""Rank fidelity: how well the order at a rung foretells the order later, from a running search.

A scheduler that stops trials sees only the ends of those that ranked well, and so cannot judge its
rungs by them. Some that lost at a rung are watched all the same: controls, which go on by lot, and
those that came before the rung stopped anybody. A control stands for all that lost at its rung, so
it is weighted by one over the probability of the lot (Horvitz and Thompson 1952); who goes on for
certain weighs 1. With these weights Kendall's tau-b (Kendall 1945; Vigna 2015 for weights)
estimates that of a search which stops nobody.

Scores are the search's: smaller is better, infinite for a trial that diverged or has none. NumPy
and SciPy are imported once there is a loser to look at: `status` is to come at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

from tuning.ledger.records import RungEntry, TrialRecord
from tuning.spaces.space import SearchSpace

LEAST_LOSERS = 4  # that were watched; with fewer nothing is said of a rung
LEVEL = 0.95  # of the intervals, two-sided
DRAWS = 200  # of the bootstrap
MOST_DRAWN = 500  # trials of a draw: a page of thousands has to be there within a second
Interval = tuple[float, float]
Rungs = Mapping[int, Mapping[int, RungEntry]]  # by epoch, by trial in the order of arrival


@dataclass(frozen=True, slots=True)
class Watched:
    """A trial that was seen at a rung and later."""

    trial: int
    first: float  # its score at the rung
    later: float
    weight: float  # trials for which it stands, at least 1
    lost: bool  # the rung would have stopped it by its rank


@dataclass(frozen=True)
class RungPair:
    """A rung and a later one, or the end: how well the first foretells the second."""

    rung: int  # epoch
    to: int  # epoch; the maximum fidelity is the end
    factor: int  # the rung keeps the best one in so many
    came: int  # trials that came to the rung
    runs: tuple[Watched, ...]  # in the order of their arrival at the rung

    @property
    def losers(self) -> tuple[Watched, ...]:
        """Those that lost at the rung and were watched all the same."""
        return tuple(run for run in self.runs if run.lost)

    @property
    def known(self) -> bool:
        """Whether enough losers were watched to say anything, and both sides have an order."""
        return len(self.losers) >= LEAST_LOSERS and self.tau is not None

    @property
    def tau(self) -> float | None:
        """Kendall's tau-b, weighted, in [-1, 1]; None if either side has one value only."""
        return weighted_tau_b(*self._columns())

    @property
    def interval(self) -> Interval | None:
        """A percentile interval of :attr:`tau` by bootstrap over the trials; None as there."""
        return _bootstrap(*self._columns())

    @property
    def would_be_kept(self) -> int:
        """Losers whose later score is among those that the rung should have kept."""
        room = max(1, self.came // self.factor)
        return sum(
            sum(other.weight for other in self.runs if other.later < run.later) < room
            for run in self.losers
        )

    @property
    def kept_interval(self) -> Interval:
        """Jeffreys' interval of the probability that a loser should have been kept."""
        return jeffreys(self.would_be_kept, len(self.losers))

    @property
    def regret(self) -> float | None:
        """How much better the best watched loser is later than the best of the others, at least 0.

        Stopping them would have cost at least that. None if no other trial has a later score.
        """
        kept = min((run.later for run in self.runs if not run.lost), default=math.inf)
        lost = min((run.later for run in self.losers), default=math.inf)
        return None if math.isinf(kept) else max(0.0, kept - lost)

    @property
    def no_better_than_chance(self) -> bool:
        """Whether the rung's order cannot be told from one by lot."""
        interval = self.interval if self.known else None
        return interval is not None and interval[0] <= 0

    def _columns(self) -> tuple[tuple[float, ...], ...]:
        columns = ((run.first, run.later, run.weight) for run in self.runs)
        return tuple(zip(*columns, strict=True)) or ((), (), ())


def rank_fidelity(
    trials: Sequence[TrialRecord], rungs: Rungs, space: SearchSpace
) -> list[RungPair]:
    """Every pair of rungs, and of a rung and the end, by epoch; empty if no rung stops trials.

    ``trials``: those of the search. A trial whose config changes on the way is compared with
    nothing, so there are no pairs with `pbt`.
    """
    if space.scheduler.changes_config:
        return []
    *levels, end = space.rungs()
    factor = space.scheduler.reduction_factor
    control = space.scheduler.control_share(space.budget.trials)
    entered = {level: rungs.get(level, {}) for level in levels}
    later = {level: _scores(entered[level], trials, level) for level in levels}
    later[end] = _ends(trials, space)
    lost = {level: losers_at(entered[level], factor) for level in levels}

    def weight(trial: int, between: Sequence[int]) -> float:
        lots = sum(
            entered[level][trial].control and trial in lost[level]
            for level in between
            if trial in entered[level]
        )
        return float(control**-lots) if lots else 1.0

    pairs = []
    for rung, to in combinations((*levels, end), 2):
        between = [level for level in levels if rung <= level < to]
        runs = tuple(
            Watched(
                trial, entry.score, later[to][trial], weight(trial, between), trial in lost[rung]
            )
            for trial, entry in entered[rung].items()
            if trial in later[to]
        )
        pairs.append(RungPair(rung, to, factor, len(entered[rung]), runs))
    return pairs


def weighted_tau_b(
    first: Sequence[float], later: Sequence[float], weights: Sequence[float]
) -> float | None:
    """Kendall's tau-b with a pair of trials weighted by the product of their weights.

    None if either side has one value only, or there are fewer than two trials.
    """
    if len(set(first)) < 2 or len(set(later)) < 2:
        return None
    import numpy as np
    from scipy.stats import weightedtau

    found = weightedtau(
        np.asarray(first, float),
        np.asarray(later, float),
        rank=np.arange(len(first)),
        weigher=lambda place: weights[place],
        additive=False,
    )
    return round(float(found.statistic), 12)  # 0.4 of five trials, not 0.39999999999999997


def jeffreys(successes: int, n: int) -> Interval:
    """Jeffreys' interval of a probability (Brown, Cai and DasGupta 2001, section 4.1.2)."""
    from scipy.stats import beta

    tail, a, b = (1 - LEVEL) / 2, successes + 0.5, n - successes + 0.5
    low = 0.0 if successes == 0 else float(beta.ppf(tail, a, b))
    return low, 1.0 if successes == n else float(beta.ppf(1 - tail, a, b))


@lru_cache(maxsize=64)  # a page asks again and again, and few pairs change in between
def _bootstrap(
    first: Sequence[float], later: Sequence[float], weights: Sequence[float]
) -> Interval | None:
    """The interval; a trial that is drawn twice weighs twice. Draws of one value are left out.

    Of many trials a part is drawn, and the interval is narrowed by the root of its share (the m out
    of n bootstrap, Bickel, Goetze and van Zwet 1997).
    """
    tau = weighted_tau_b(first, later, weights)
    if tau is None:
        return None
    import numpy as np

    rng, n = np.random.default_rng(0), len(first)
    m, found = min(n, MOST_DRAWN), []
    for _ in range(DRAWS):
        times = np.bincount(rng.integers(n, size=m), minlength=n)
        here = np.flatnonzero(times)
        drawn = ([first[k] for k in here], [later[k] for k in here])
        value = weighted_tau_b(*drawn, [weights[k] * times[k] for k in here])
        found += [] if value is None else [value]
    low, high = np.quantile(found or [tau], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    share = math.sqrt(m / n)
    return tau + share * (float(low) - tau), tau + share * (float(high) - tau)


def losers_at(entries: Mapping[int, RungEntry], factor: int) -> frozenset[int]:
    """Who went on although neither then nor later it was among the best 1 / factor of a rung.

    A control that would have been promoted later did not lose, and nor does the prior, trial 0,
    which goes on always.
    """
    went_on = [
        place
        for place, entry in enumerate(entries.values())
        if entry.keeps and entry.trial and entry.rank > entry.peers // factor
    ]
    if not went_on:
        return frozenset()
    import numpy as np

    numbers = np.array(list(entries))
    scores = np.array([entry.score for entry in entries.values()])
    room = np.arange(1, len(scores) + 1) // factor
    found = []
    for place in went_on:
        equal_and_first = (scores == scores[place]) & (numbers < numbers[place])
        ranks = 1 + np.cumsum((scores < scores[place]) | equal_and_first)
        if (ranks[place:] > room[place:]).all():
            found.append(int(numbers[place]))
    return frozenset(found)


def _scores(
    entries: Mapping[int, RungEntry], trials: Sequence[TrialRecord], level: int
) -> dict[int, float]:
    """The score at a rung of all that came there, or diverged before."""
    diverged = {t.number: math.inf for t in trials if t.diverged and t.epochs <= level}
    return diverged | {number: entry.score for number, entry in entries.items()}


def _ends(trials: Sequence[TrialRecord], space: SearchSpace) -> dict[int, float]:
    """The score at the end of all that came there, or diverged before."""
    metric, sign = space.objective.score, space.objective.sign

    def found() -> Iterator[tuple[int, float]]:
        for trial in trials:
            if trial.diverged:
                yield trial.number, math.inf
            elif trial.state == "finished":
                last = trial.scored(metric)
                whole = last.get("epoch") == space.fidelity.max
                yield trial.number, sign * last[metric] if whole else math.inf

    return dict(found())
