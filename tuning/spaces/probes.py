"""Building run configs from all over a search space, before a trial has to.

A condition that is missing, a bound that a field refuses, a choice that nothing implements: each
shows as a config that cannot be built, and is reported with the values that lead to it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from hpcm.schema import ConfigError
from tuning.spaces.checks import split_line
from tuning.spaces.conditions import NONZERO, activating_values, possible
from tuning.spaces.coordinates import Coordinate, Suggest, fields_named
from tuning.spaces.documents import Problem, given_in
from tuning.spaces.draws import combinations, draw
from tuning.spaces.parameters import Float
from tuning.spaces.space import SearchSpace

MOST_COMBINATIONS = 200  # of choices that are tried out; beyond them the random draws stand in
RANDOM_DRAWS = 64
MOST_SHOWN = 12


def check_configs(space: SearchSpace) -> list[Problem]:
    """One problem for each way in which a sampled config cannot be built."""
    base = _base_problems(space)
    if base:
        return base
    sampled = _failures(space, boundary_configs(space)) or _failures(space, _inside(space))
    return [*_reference_problems(space), *sampled]


def _base_problems(space: SearchSpace) -> list[Problem]:
    """What the prior config refuses of base; it would be refused with every other config too."""
    lines = _refused(space, partial(space.config, space.prior()))
    return [(f"base.{path}", text) for path, text in lines if given_in(space.base, path)]


def _reference_problems(space: SearchSpace) -> list[Problem]:
    """Why the first reference run that cannot be built cannot."""
    for lmbda in space.reference_lmbdas():
        if lines := _refused(space, partial(space.reference_config, lmbda)):
            return [("objective.reference.config", f"{path}: {text}") for path, text in lines]
    return []


def _failures(space: SearchSpace, flats: Iterator[dict[str, Any]]) -> list[Problem]:
    """The refusals of all ``flats``, each field's first one."""
    failures: dict[str, tuple[str, str, dict[str, Any]]] = {}
    built: list[dict[str, Any]] = []
    for flat in flats:
        values, lines = space.values(flat), _refused(space, partial(space.config, flat))
        for path, message in lines:
            about = message if path.endswith(".name") else ""
            failures.setdefault(f"{path} {about}", (path, message, values))
        if not lines:
            built.append(values)
    explained = [_explained(space, *failure, built) for failure in failures.values()]
    return _shortened(list(dict.fromkeys(explained)))


def _refused(space: SearchSpace, build: Callable[[], object]) -> list[Problem]:
    """Why ``build`` cannot make a run config of the space; empty if it can."""
    try:
        build()
    except ConfigError as error:
        lines = str(error).splitlines()
        return [split_line(line.removeprefix(f"{space.name}: ")) for line in lines]
    return []


def boundary_configs(space: SearchSpace) -> Iterator[dict[str, Any]]:
    """The prior, the ends of every range, every choice, and combinations of choices."""
    yield space.prior()
    for path, parameter in space.parameters.items():
        for coordinate in parameter.coordinates(path):
            for value in coordinate.choices or (coordinate.low, coordinate.high):
                yield space.walk(_prior_with(space, path, coordinate, value))
    yield from combinations(space, most=MOST_COMBINATIONS)


def _inside(space: SearchSpace) -> Iterator[dict[str, Any]]:
    generator = random.Random(0)
    for _ in range(RANDOM_DRAWS):
        yield draw(space, generator)


def _prior_with(space: SearchSpace, path: str, target: Coordinate, value: Any) -> Suggest:
    """The prior with ``value`` for one coordinate of ``path``, and with what activates ``path``."""
    forced: dict[str, Any] = {}
    for ancestor, allowed in possible(space.parameters, path).items():
        forced |= activating_values(space.parameters[ancestor], ancestor, allowed)
    if isinstance(space.parameters[path], Float):
        forced |= activating_values(space.parameters[path], path, [NONZERO])
    forced[target.path] = value
    return lambda coordinate: forced.get(coordinate.path, coordinate.prior)


def _explained(
    space: SearchSpace,
    path: str,
    message: str,
    values: dict[str, Any],
    built: list[dict[str, Any]],
) -> Problem:
    """A failure as path and message, with the values that led to it or the missing condition."""
    field, path = path, next((own for own in space.parameters if path in fields_named(own)), path)
    message = message if field == path else f"{field}: {message}"
    if message.startswith("unknown key") and path in space.parameters:
        return f"parameters.{path}", _missing_condition(space, path, values, built)
    prior = space.values(space.prior())
    changed = [f"{key} = {value}" for key, value in values.items() if prior.get(key) != value]
    text = f"with {', '.join(changed[:4])}" if changed else "from the prior"
    if path in space.parameters:
        return f"parameters.{path}", f"no config can be built {text}: {message}"
    return "parameters", f"no config can be built {text}: {path}: {message}"


def _missing_condition(
    space: SearchSpace, path: str, values: dict[str, Any], built: list[dict[str, Any]]
) -> str:
    """The advice for a field that only some choices of a part have."""
    parts = path.split(".")
    tags = [".".join((*parts[:end], "name")) for end in range(len(parts) - 1, 0, -1)]
    for tag in tags:
        having = dict.fromkeys(str(other[tag]) for other in built if path in other and tag in other)
        if tag not in values or str(values[tag]) in having:
            continue
        advice = ""
        if having:
            names = next(iter(having)) if len(having) == 1 else f"[{', '.join(having)}]"
            advice = f"; write when: {{{tag}: {names}}}"
        return f"active also under {tag} = {values[tag]}, which has no such field{advice}"
    return "active although its part has no such field; fix the part's name in base, or add a when"


def _shortened(problems: list[Problem]) -> list[Problem]:
    if len(problems) <= MOST_SHOWN:
        return problems
    left = len(problems) - MOST_SHOWN
    return [*problems[:MOST_SHOWN], ("parameters", f"and {left} more configs that cannot be built")]
