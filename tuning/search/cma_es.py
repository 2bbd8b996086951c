"""CMA-ES, its generations replayed from the ledger for each proposal.

Hansen 2016, "The CMA Evolution Strategy: A Tutorial", in the unit cube: of each coordinate the
share of its range (on a log scale if it has one), from the prior outwards. Optuna's sampler
keeps its state as pickles in the trials; here a proposal depends only on seed, number and records,
and nothing that was read from a disk is unpickled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from hpcm.schema import bounded, config_class
from tuning.ledger.records import TrialRecord
from tuning.search.searcher import Proposal, Searcher, seeds
from tuning.spaces.documents import Problem
from tuning.spaces.searcher_section import SearcherSection
from tuning.spaces.space import SearchSpace

Score = tuple[float, ...]  # the smaller, the better


@config_class
class CmaEs(SearcherSection):
    """CMA-ES (Hansen 2016) from the prior outwards; numbers only, none of them conditional."""

    follows_pareto: ClassVar[bool] = False
    name: Literal["cmaes"] = "cmaes"
    seed: int = 0  # of everything the searcher draws
    sigma: float = 0.25  # first standard deviation, as a share of every range
    population: int | None = None  # trials of a generation, >= 4; null: 4 + 3 ln(dimensions)

    def __post_init__(self) -> None:
        bounded(self, "seed", least=0)
        if not 0 < self.sigma <= 1:
            raise ValueError(f"sigma is {self.sigma:g}; must be above 0 and at most 1")
        bounded(self, "population", least=4)

    def build(self, space: SearchSpace) -> Searcher:
        """It replays its generations."""
        return CmaEsSearcher(space, self)

    def problems(self, space: SearchSpace) -> Iterator[Problem]:
        """What it cannot search, by paths in the file."""
        for path, parameter in space.parameters.items():
            coordinates, reason = parameter.coordinates(path), ""
            if any(coordinate.type == "categorical" for coordinate in coordinates):
                reason = "a choice, but cmaes searches numbers only"
            elif parameter.when:
                reason = "conditional, but cmaes needs every number in every trial"
            elif any(coordinate.split is not None for coordinate in coordinates):
                reason = "zero at times, but cmaes needs every number in every trial"
            if reason:
                yield f"parameters.{path}", f"{reason}; use tpe, or fix it in base"
        if len(list(space.coordinates())) < 2:
            yield "searcher.name", "cmaes, which needs two numbers or more; use tpe"


class CmaEsSearcher(Searcher):
    """Its own proposals that have a result are its memory."""

    def __init__(self, space: SearchSpace, section: CmaEs) -> None:
        from tuning.search.optuna_encoder import OptunaEncoder  # whoever reads a space needs none

        super().__init__(space)
        self.section, self.encoder = section, OptunaEncoder(space)

    def propose(self, number: int, records: Sequence[TrialRecord], attempt: int = 0) -> Proposal:
        """Another one for each ``attempt``."""
        seed, _ = seeds(self.section.seed, number, attempt)
        return cma_proposal(self.space, self.section, self._scored(records), seed), CmaEs.name

    def _scored(self, records: Sequence[TrialRecord]) -> list[tuple[dict[str, Any], Score]]:
        """Its own proposals that have a result, with what sorts them.

        Those that keep the constraints come first, then those that went further, as in TPE.
        """
        encoder = self.encoder
        worst = encoder.worst(records)
        found: list[tuple[dict[str, Any], Score]] = []
        for record in records:
            if record.source == CmaEs.name and encoder.has_result(record):
                frozen = encoder.frozen(record, worst)
                if frozen.value is None:  # diverged before anybody had a number
                    continue
                missed = sum(max(0.0, value) for value in frozen.constraints.values())
                epochs = encoder.most if record.diverged else record.epochs
                score = encoder.objective.sign * frozen.value
                found.append((record.params, (missed, -float(epochs), score)))
        return found


def cma_proposal(
    space: SearchSpace, section: CmaEs, scored: Sequence[tuple[dict[str, Any], Score]], seed: int
) -> dict[str, Any]:
    """A flat config of the generation that comes after all whole ones in ``scored``.

    ``scored``: this searcher's proposals that have a result, by number, each with its score. Only
    the order of the scores within a generation counts.
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
    for start in range(0, len(scored) - size + 1, size):
        ranked = sorted(scored[start : start + size], key=lambda one: one[1])
        points = [np.array([c.share(params[c.path]) for c in coordinates]) for params, _ in ranked]
        optimizer.tell([(point, float(rank)) for rank, point in enumerate(points)])
    point = dict(zip((c.path for c in coordinates), optimizer.ask(), strict=True))
    return space.walk(lambda coordinate: coordinate.at(float(point[coordinate.path])))
