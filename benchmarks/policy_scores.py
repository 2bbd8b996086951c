"""What simulated searches say of policies: regret, what was lost, ratios, ranks.

A result is a dict of one search: ``source``, ``group``, ``seed``, ``regret`` (by mark), ``lost``
(whether none of the best arms came to its end; None without arms), ``spent`` (full runs), ``used``
(share of the slots). Results of policies are paired by source and seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import friedmanchisquare, rankdata, studentized_range

Result: TypeAlias = Mapping[str, Any]
Results: TypeAlias = Mapping[str, Sequence[Result]]  # by policy
Floats: TypeAlias = NDArray[np.float64]
LATE = ("8", "16", "32")  # marks that count for ratios and ranks
DRAWS = 2000
LEVEL = 0.95


def regrets(results: Sequence[Result], marks: Sequence[str] = LATE) -> Floats:
    """The mean regret of each search over ``marks``."""
    return np.array([np.mean([result["regret"][mark] for mark in marks]) for result in results])


def interval(
    results: Sequence[Result], statistic: Callable[[NDArray[np.intp]], float]
) -> tuple[float, float]:
    """A percentile bootstrap of ``statistic`` of positions in ``results``.

    Sources are drawn, then their searches, for searches of one source are alike.
    """
    rng = np.random.default_rng(0)
    places: dict[str, list[int]] = {}
    for place, result in enumerate(results):
        places.setdefault(result["source"], []).append(place)
    flat = np.concatenate([np.array(group) for group in places.values()])
    sizes = np.array([len(group) for group in places.values()])
    starts, found = np.cumsum(sizes) - sizes, []
    for _ in range(DRAWS):
        drawn = rng.integers(len(sizes), size=len(sizes))
        size = np.repeat(sizes[drawn], sizes[drawn])
        first = np.repeat(starts[drawn], sizes[drawn])
        found.append(statistic(flat[first + (rng.random(len(size)) * size).astype(int)]))
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(found, [tail, 1 - tail])
    return float(low), float(high)


def row(results: Sequence[Result]) -> dict[str, Any]:
    """One policy over the searches of one group of sources."""
    marks = list(results[0]["regret"])
    found: dict[str, Any] = {}
    for mark in marks:
        values = regrets(results, [mark])
        low, high = interval(results, lambda at, values=values: float(values[at].mean()))
        found[mark] = {"regret": float(values.mean()), "interval": [low, high]}
    lost = [result["lost"] for result in results if result["lost"] is not None]
    return found | {
        "n": len(results),
        "lost": float(np.mean(lost)) if lost else None,
        "spent": float(np.mean([result["spent"] for result in results])),
        "used": float(np.nanmean([result["used"] for result in results])),
    }


def ratio(
    results: Sequence[Result], reference: Sequence[Result], marks: Sequence[str] = LATE
) -> dict[str, Any]:
    """The mean regret over that of another policy on the same searches, with an interval."""
    own, other = regrets(results, marks), regrets(reference, marks)

    def of(at: NDArray[np.intp]) -> float:
        return float(own[at].mean() / max(other[at].mean(), 1e-12))

    return {"ratio": of(np.arange(len(own))), "interval": list(interval(results, of))}


def ranking(results: Results) -> dict[str, Any]:
    """Mean ranks over sources, Friedman's test, and Nemenyi's critical difference.

    Demsar 2006, "Statistical comparisons of classifiers over multiple data sets": two policies
    whose mean ranks differ by less than the critical difference cannot be told apart.
    """
    sources = sorted({result["source"] for result in next(iter(results.values()))})
    table = np.array(
        [
            [regrets([r for r in of if r["source"] == source]).mean() for of in results.values()]
            for source in sources
        ]
    )
    n, k = table.shape
    ranks = rankdata(table, axis=1).mean(axis=0)
    quantile = studentized_range.ppf(LEVEL, k, np.inf) / np.sqrt(2)
    test = friedmanchisquare(*table.T) if n > 1 and k > 2 else None
    return {
        "sources": n,
        "ranks": dict(sorted(zip(results, map(float, ranks), strict=True), key=lambda p: p[1])),
        "critical_difference": float(quantile * np.sqrt(k * (k + 1) / (6 * n))),
        "friedman_p": None if test is None else float(test.pvalue),
    }


def leave_one_out(results: Results, choices: Sequence[str], reference: str) -> list[dict[str, Any]]:
    """For each source the best of ``choices`` on all others, and its ratio to ``reference`` here.

    The best is that with the least mean over the other sources of that ratio.
    """
    sources = sorted({result["source"] for result in results[reference]})

    def on(policy: str, source: str) -> float:
        own, other = (
            regrets([r for r in results[name] if r["source"] == source]).mean()
            for name in (policy, reference)
        )
        return float(own / max(other, 1e-12))

    table = {policy: {source: on(policy, source) for source in sources} for policy in choices}
    rows = []
    for source in sources:
        others = [other for other in sources if other != source]
        chosen = min(choices, key=lambda p: float(np.mean([table[p][other] for other in others])))
        rows.append({"left_out": source, "chosen": chosen, "ratio": table[chosen][source]})
    return rows
