"""What a searcher cannot do in a search space, before anything is started."""

from __future__ import annotations

from collections.abc import Iterator

from tuning.spaces.documents import Problem
from tuning.spaces.draws import combinations
from tuning.spaces.scheduler_sections import Fifo
from tuning.spaces.searcher_sections import MOST_GP_TRIALS, CmaEs, Gp, Grid, Nsga, Tpe
from tuning.spaces.space import SearchSpace


def check_searcher(space: SearchSpace) -> Iterator[Problem]:
    """What the searcher would have to ignore."""
    section, trials = space.searcher, space.budget.trials
    match section:
        case Grid():
            for path, parameter in space.parameters.items():
                if any(coordinate.type == "float" for coordinate in parameter.coordinates(path)):
                    yield (
                        f"parameters.{path}.type",
                        "a grid has no continuous values; list choices",
                    )
        case CmaEs():
            for path, reason in unsearchable(space):
                yield f"parameters.{path}", f"{reason}; use tpe, or fix it in base"
            if len(list(space.coordinates())) < 2:
                yield "searcher.name", "cmaes, which needs two numbers or more; use tpe"
        case Gp() if trials > MOST_GP_TRIALS:
            yield (
                "searcher.name",
                f"gp, but budget.trials is {trials}: the driver stands still while a Gaussian"
                f" process proposes, with many trials for seconds; at most {MOST_GP_TRIALS} trials,"
                " or tpe",
            )
        case Nsga() if not space.objective.pareto:
            yield "searcher.name", "nsga, which needs two metrics; give them as objective.pareto"
    if space.objective.pareto and isinstance(section, Gp | CmaEs):
        metrics, name = list(space.objective.pareto), section.name
        yield (
            "objective.pareto",
            f"{metrics}, but {name} follows objective.metric alone; use nsga or tpe",
        )


def searcher_warnings(space: SearchSpace) -> Iterator[str]:
    """What the searcher does, but is probably not meant."""
    section, trials = space.searcher, space.budget.trials
    if isinstance(section, Tpe | Gp) and section.startup_trials >= trials:
        yield (
            f"searcher.startup_trials is {section.startup_trials}, budget.trials {trials}:"
            " no trial is proposed by the model"
        )
    if isinstance(section, Nsga) and section.population >= trials:
        yield (
            f"searcher.population is {section.population}, budget.trials {trials}:"
            " there is no second generation"
        )
    if isinstance(section, Gp) and not isinstance(space.scheduler, Fifo):
        yield (
            f"searcher gp learns from trials at epoch {space.fidelity.max} only, and scheduler"
            f" {space.scheduler.name} stops most before; fifo stops none, tpe learns from all"
        )
    if isinstance(section, Gp | Nsga):
        drawn = [path for path, parameter in space.parameters.items() if parameter.when]
        if drawn:
            yield (
                f"searcher {section.name} draws conditional parameters at random:"
                f" {', '.join(drawn)}; tpe models them"
            )
    if isinstance(section, Grid):
        points = sum(1 for _ in combinations(space, most=trials + 1))
        if points > trials:
            yield f"budget.trials is {trials}, but the grid has more points: the rest is left out"


def unsearchable(space: SearchSpace) -> list[tuple[str, str]]:
    """What CMA-ES cannot search, as paths in the file and reasons."""
    found = []
    for path, parameter in space.parameters.items():
        coordinates = parameter.coordinates(path)
        if any(coordinate.type == "categorical" for coordinate in coordinates):
            found.append((path, "a choice, but cmaes searches numbers only"))
        elif parameter.when:
            found.append((path, "conditional, but cmaes needs every number in every trial"))
        elif any(coordinate.split is not None for coordinate in coordinates):
            found.append((path, "zero at times, but cmaes needs every number in every trial"))
    return found
