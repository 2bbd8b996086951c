"""The published grid's 12 configs under our rungs: what they cost, and whether the answer stays.

The yardstick is the same 12 trained to the end, each on the same seed. A search whose answer is
another one has *lost*: it stopped the config that full length would have named.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tuning
from benchmarks.policy_scores import interval
from tuning.results.rank_fidelity import jeffreys
from tuning.search.halving import Promote
from tuning.simulation.arms import Arms
from tuning.simulation.family import Family
from tuning.spaces.loading import load_space
from tuning.spaces.space import SearchSpace

CONFIGS = 12
#: By name: trials at a time, and the scheduler.
GRID_POLICIES = {
    "12 configs, 8 at a time": (8, Promote()),
    "12 configs, 2 at a time": (2, Promote()),
    "12 configs, 2 at a time, no pilots": (2, Promote(pilots=0)),
}


@cache
def grid_space() -> SearchSpace:
    """`phase1_grid`, with rungs."""
    overrides = ("fidelity.max=9", "objective.metric=val_rd_cost", "confirm.top=0")
    return load_space("phase1_grid", overrides=overrides)


class OnGrid:
    """A family over the parameters of a larger space, asked for points of the grid."""

    def __init__(self, space: SearchSpace, family: Family) -> None:
        self.space, self.family, self.prior = space, family, space.prior()

    def point(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Of the larger space: `famo` with these values, all else as the prior has it."""
        own = {"balancer.name": "famo", **params}
        return self.space.walk(lambda c: own.get(c.path, self.prior.get(c.path, c.prior)))

    def report(self, params: Mapping[str, Any], seed: int, epoch: int) -> dict[str, float]:
        """Of the point."""
        return self.family.report(self.point(params), seed, epoch)

    def seconds(self, params: Mapping[str, Any], epoch: int) -> float:
        """Of the point."""
        return self.family.seconds(self.point(params), epoch)


def grid_result(
    larger: SearchSpace,
    family: Family | None,
    curves: Mapping[str, NDArray[np.float32]] | None,
    policy: str,
    seed: int,
) -> dict[str, Any]:
    """The share of the epochs of full length that were trained, and whether the answer was lost."""
    space = grid_space()
    slots, section = GRID_POLICIES[policy]
    source: OnGrid | Arms
    if curves is not None:
        keys = random.Random(seed).sample(sorted(curves), min(CONFIGS, len(curves)))
        source = Arms(space, {key: curves[key] for key in keys}, order=seed)
    else:
        assert family is not None
        source = OnGrid(larger, family)
    found = replace(space, scheduler=section, fidelity=replace(space.fidelity, min=1))
    result = tuning.simulate(found, source, slots=slots, seed=seed)
    most, score = space.fidelity.max, space.objective.score
    ends = {t.number: source.report(t.params, seed, most)[score] for t in result.trials}
    best = min((end, number) for number, end in ends.items() if end == end)[1]
    return {
        "share": round(sum(t.epochs for t in result.trials) / (most * len(result.trials)), 4),
        "lost": result.best is None or result.best.number != best,
    }


def grid_rows(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Print and give, by group and policy, the mean share of the epochs and how many lost."""
    groups: dict[str, Any] = {}
    print(
        f"\nthe same {CONFIGS} configs: share of the epochs of full length; lost its answer [95 %]"
    )
    for name, results in found.items():
        for group in dict.fromkeys(result["group"] for result in results):
            of = [result for result in results if result["group"] == group]
            shares = np.array([result["share"] for result in of])
            lost = sum(result["lost"] for result in of)
            row = {
                "n": len(of),
                "share": float(shares.mean()),
                "share_interval": list(interval(of, lambda at, s=shares: float(s[at].mean()))),
                "lost": lost / len(of),
                "lost_interval": list(jeffreys(lost, len(of))),
            }
            groups.setdefault(group, {})[name] = row
            low, high = row["lost_interval"]
            print(
                f"{group:12}{name:36}{row['share']:6.2f}{100 * row['lost']:7.0f} %"
                f" [{100 * low:.0f}, {100 * high:.0f}]  n = {len(of)}"
            )
    return groups
