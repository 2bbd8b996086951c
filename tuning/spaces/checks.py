"""What a search space must hold before anything is started; each problem names its key."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import hpcm
from hpcm.schema import ConfigError, did_you_mean, field_of, load, shown
from tuning.spaces.categorical import Categorical
from tuning.spaces.conditions import NONZERO, allowed_by, can_be, possible
from tuning.spaces.confirm_checks import check_confirm
from tuning.spaces.coordinates import fields_named
from tuning.spaces.documents import Problem
from tuning.spaces.objective_checks import check_objective, objective_warnings
from tuning.spaces.parameters import DISTRIBUTIONS, Float, Parameter
from tuning.spaces.space import SearchSpace

# Fields that no trial may choose for itself, and why.
NOT_SEARCHED = {
    "loss": "it would change the unit of the objective; make one experiment per value",
    "data.val": "the objective is measured on it; all trials need the same",
    "epochs": "fidelity decides how long a trial trains",
    "schedule_horizon": "give it as fidelity.schedule_horizon",
    "validate_every": "trials are compared at the same epochs; fix it in base",
}
NOT_IN_BASE = {
    "epochs": "give fidelity.max instead",
    "schedule_horizon": "give fidelity.schedule_horizon instead",
}


def read_parameters(
    specs: Mapping[str, Any],
) -> tuple[dict[str, Parameter], list[Problem]]:
    """The parameters that could be read, and what is wrong with the others."""
    parameters: dict[str, Parameter] = {}
    problems: list[Problem] = []
    for path, spec in specs.items():
        try:
            parameters[str(path)] = _read_parameter(spec)
        except ConfigError as error:
            problems += [split_line(line, f"parameters.{path}") for line in str(error).splitlines()]
    return parameters, problems


def check_parameters(
    parameters: Mapping[str, Parameter], unread: set[str], base: Mapping[str, Any]
) -> Iterator[Problem]:
    """Paths, conditions and mutability; parameters that are ``unread`` were already refused."""
    seen: dict[str, str] = {}
    for path in parameters:
        for field in fields_named(path):
            if field in seen:
                yield f"parameters.{path}", f"{field} is searched as {seen[field]} already"
            seen[field] = path
    parents = {parent for parameter in parameters.values() for parent in parameter.when}
    above: list[str] = []
    sound = not unread
    for path, parameter in parameters.items():
        where = f"parameters.{path}"
        yield from _check_path(path, parameter, base, decides=path in parents)
        problems = [
            (f"{where}.when", message)
            for parent, value in parameter.when.items()
            if parent not in unread
            for message in _check_condition(parent, allowed_by(value), parameters, above)
        ]
        yield from problems
        above.append(path)
        sound = sound and not problems
        if sound:
            for ancestor, allowed in possible(parameters, path).items():
                if not allowed:
                    yield (
                        f"{where}.when",
                        f"can never hold: its parents want {ancestor} to differ",
                    )


def check_base(base: Mapping[str, Any]) -> Iterator[Problem]:
    """What base may not fix."""
    for path, reason in NOT_IN_BASE.items():
        if path in base:
            yield f"base.{path}", f"not allowed here; {reason}"
    data = base.get("data")
    for key in ("train", "val"):
        name = data.get(key) if isinstance(data, dict) else None
        if isinstance(name, str) and (set(name) & set("/\\~")):
            yield (
                f"base.data.{key}",
                f"{name!r} is a path; give the name of an image set under $HPCM_DATA",
            )


def check_sections(space: SearchSpace) -> Iterator[Problem]:
    """What sections must agree on."""
    every = space.base.get("validate_every", 1)
    known = type(every) is int and every > 0  # else the config class refuses it
    unseen = [rung for rung in space.rungs()[:-1] if known and rung % every]
    if unseen:
        yield (
            "base.validate_every",
            f"{every}, but trials are compared at epoch {unseen[0]}; every rung needs a validation",
        )
    yield from _check_batches(space)
    if space.budget.stop == "noise" and (space.objective.pareto or space.scheduler.changes_config):
        why = "a front has no best trial" if space.objective.pareto else "pbt needs its population"
        yield "budget.stop", f"noise, but {why}; leave it out"
    yield from space.scheduler.problems(space)
    yield from space.searcher.problems(space)
    yield from check_confirm(space)
    yield from check_objective(space)


def _check_batches(space: SearchSpace) -> Iterator[Problem]:
    """Whether several processes can share out every batch equally."""
    processes, field = space.resources.processes, "data.batch_size"
    searched = {path: p for path, p in space.parameters.items() if field in fields_named(path)}
    sizes = [space.of_base("data", "batch_size", hpcm.TrainConfig().data.batch_size)]
    for path, parameter in searched.items():
        if processes > 1 and not isinstance(parameter, Categorical):
            yield f"parameters.{path}", f"with {processes} GPUs a trial it must be a categorical"
            return
        at = fields_named(path).index(field)
        choices = parameter.choices if isinstance(parameter, Categorical) else ()
        sizes = [one[at] if isinstance(one, list) else one for one in choices]
    uneven = [size for size in sizes if isinstance(size, int) and size % processes]
    if uneven:
        yield (
            "resources.gpu",
            f"{processes}, but a {field} of {uneven[0]} cannot be shared out equally; it must be a"
            f" multiple of {processes}",
        )


def warnings_of(space: SearchSpace) -> Iterator[str]:
    """What is allowed, but probably not meant."""
    yield from space.scheduler.warnings(space)
    yield from space.searcher.warnings(space)
    yield from objective_warnings(space)


def split_line(line: str, below: str = "") -> Problem:
    """``key: message`` as a path below ``below`` and the message.

    ``budget: trials is 0; must ..``, which a config class says of one of its fields, becomes
    ``budget.trials`` and ``0; must ..``.
    """
    key, colon, message = line.partition(": ")
    if not colon or (" " in key and key != "top level"):
        return below, line
    path = [below, "" if key == "top level" else key]
    if field := re.match(r"(?!(?:inf|nan) )([a-z]\w*) is (?=\S)", message):  # not "None is unknown"
        path.append(field[1])
        message = message[field.end() :]
    return ".".join(part for part in path if part), message


def _read_parameter(spec: Any) -> Parameter:
    """One entry of `parameters`. Raises :class:`ConfigError` with lines of ``key: message``."""
    if not isinstance(spec, dict):
        raise ConfigError(f": {shown(repr(spec))}; must be a mapping with a type")
    if "type" not in spec:
        raise ConfigError(f"type: missing{did_you_mean('', DISTRIBUTIONS)}")
    if not isinstance(spec["type"], str) or spec["type"] not in DISTRIBUTIONS:
        raise ConfigError(
            f"type: {spec['type']!r} is unknown{did_you_mean(spec['type'], DISTRIBUTIONS)}"
        )
    rest = {key: value for key, value in spec.items() if key != "type"}
    try:
        return load(DISTRIBUTIONS[spec["type"]], rest, "")
    except ConfigError as error:
        raise ConfigError(str(error).replace("\n: ", "\n").removeprefix(": ")) from None


def _check_path(
    path: str, parameter: Parameter, base: Mapping[str, Any], *, decides: bool
) -> Iterator[Problem]:
    """Whether ``path`` names fields that may be searched, and changed when they are mutable."""
    names = fields_named(path)
    if len(names) > 1:
        choices = parameter.choices if isinstance(parameter, Categorical) else (None,)
        if not all(isinstance(one, list) and len(one) == len(names) for one in choices):
            yield (
                f"parameters.{path}",
                f"names {len(names)} fields; must be a categorical whose choices are lists of"
                f" {len(names)}",
            )
            return
    for name in names:
        yield from _check_field(f"parameters.{path}", name, parameter, base, decides)


def _check_field(
    where: str, path: str, parameter: Parameter, base: Mapping[str, Any], decides: bool
) -> Iterator[Problem]:
    """The same of one field."""
    try:
        fields = field_of(hpcm.TrainConfig, path)
    except ConfigError as error:
        yield where, str(error).removeprefix(f"{path}: ")
        return
    for forbidden, reason in NOT_SEARCHED.items():
        if path == forbidden or path.startswith(f"{forbidden}."):
            yield where, f"cannot be searched: {reason}"
    fixed: Any = base
    for part in path.split("."):
        fixed = fixed.get(part, _ABSENT) if isinstance(fixed, dict) else _ABSENT
    if fixed is not _ABSENT:
        advice = "give it in one place: in base, or here as the only choice"
        yield where, f"base fixes it to {fixed!r}; {advice}"
    if parameter.mutable and not all(field.hot for field in fields):
        yield f"{where}.mutable", "the field cannot change during a run; only hot fields can"
    if parameter.mutable and decides:
        yield f"{where}.mutable", "it decides whether another parameter is active"


def _check_condition(
    parent: str,
    values: list[Any],
    parameters: Mapping[str, Parameter],
    above: list[str],
) -> Iterator[str]:
    """Whether ``parent`` is declared above, and can be what the condition asks for."""
    if parent not in above:
        later = parent in parameters
        hint = "; move it up" if later else did_you_mean(parent, above)
        yield f"{parent} is not a parameter declared above{hint}"
        return
    if not values:
        yield f"{parent}: [] allows nothing"
    for value in values:
        if not can_be(parameters[parent], value):
            yield f"{parent} can never be {value!r}{_can_be(parameters[parent])}"


def _can_be(parent: Parameter) -> str:
    if isinstance(parent, Float):
        return f"; allowed: {NONZERO}" if parent.zero else "; a float without zero has no choices"
    coordinates = parent.coordinates("parent")
    return f"; {coordinates[0].allowed}" if len(coordinates) == 1 else "; it has no choices"


_ABSENT = object()
