"""CMA-ES, its generations replayed from the ledger for each proposal.

Hansen 2016, "The CMA Evolution Strategy: A Tutorial", in the unit cube: of each coordinate the
share of its range (on a log scale where it has one), from the prior outwards. Optuna's sampler
keeps its state as pickles in the trials; here a proposal depends on seed, number and records alone,
and nothing that was read from a disk is unpickled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tuning.spaces.searcher_sections import CmaEs
from tuning.spaces.space import SearchSpace

Score = tuple[float, ...]  # the smaller, the better


def cma_proposal(
    space: SearchSpace, section: CmaEs, told: Sequence[tuple[dict[str, Any], Score]], seed: int
) -> dict[str, Any]:
    """A flat config of the generation that comes after all whole ones in ``told``.

    ``told``: this searcher's proposals that have a result, by number, each with its score. Only the
    order of the scores within a generation counts.
    """
    from cmaes import CMA  # it loads SciPy, which takes longer than the proposal

    coordinates = list(space.coordinates())
    optimizer = CMA(
        mean=np.array([coordinate.share(coordinate.prior) for coordinate in coordinates]),
        sigma=section.sigma,
        bounds=np.tile([0.0, 1.0], (len(coordinates), 1)),
        seed=seed,
        population_size=section.population,
    )
    size = optimizer.population_size
    for start in range(0, len(told) - size + 1, size):
        ranked = sorted(told[start : start + size], key=lambda one: one[1])
        points = [np.array([c.share(params[c.path]) for c in coordinates]) for params, _ in ranked]
        optimizer.tell([(point, float(rank)) for rank, point in enumerate(points)])
    point = dict(zip((c.path for c in coordinates), optimizer.ask(), strict=True))
    return space.walk(lambda coordinate: coordinate.at(float(point[coordinate.path])))
