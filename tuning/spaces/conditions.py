"""When a parameter is active: conditions on the values of parameters declared above it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tuning.spaces.categorical import Categorical
from tuning.spaces.coordinates import same
from tuning.spaces.parameters import Bool, Float, Int, Parameter, Simplex

NONZERO = "nonzero"  # what a condition may ask of a float with `zero`


def allowed_by(value: Any) -> list[Any]:
    """The values that one condition allows: a scalar stands for a list of one."""
    return list(value) if isinstance(value, list | tuple) else [value]


def holds(when: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    """Whether all conditions hold; an inactive parent has no value, so its child is inactive."""
    return all(
        parent in values and any(_meets(values[parent], allowed) for allowed in allowed_by(value))
        for parent, value in when.items()
    )


def can_be(parent: Parameter, value: Any) -> bool:
    """Whether a condition on ``parent`` may ask for ``value``."""
    if isinstance(parent, Float):
        return bool(parent.zero) and value == NONZERO
    return isinstance(parent, Bool | Int | Categorical) and parent.contains(value)


def possible(parameters: Mapping[str, Parameter], path: str) -> dict[str, list[Any]]:
    """What every ancestor of ``path`` must be for it to be active; an empty list: never active."""
    needs: dict[str, list[Any]] = {}
    for parent, value in parameters[path].when.items():
        claims = {parent: allowed_by(value), **possible(parameters, parent)}
        for ancestor, allowed in claims.items():
            old = needs.get(ancestor, allowed)
            needs[ancestor] = [a for a in old if any(same(a, b) for b in allowed)]
    return needs


def activating_values(parameter: Parameter, path: str, allowed: list[Any]) -> dict[str, Any]:
    """What to sample for ``path`` so that it is one of ``allowed``: the prior if it is one."""
    if isinstance(parameter, Float):
        return {f"{path}.zero": (1 + parameter.zero) / 2} if parameter.zero else {}
    if isinstance(parameter, Simplex) or any(same(parameter.prior, value) for value in allowed):
        return {}
    wants = allowed[0]
    return {path: parameter.code(wants) if isinstance(parameter, Categorical) else wants}


def _meets(value: Any, allowed: Any) -> bool:
    if isinstance(value, float) and allowed == NONZERO:
        return value != 0
    return same(value, allowed)
