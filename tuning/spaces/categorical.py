"""A choice among things that have no order: scalars, or lists of scalars."""

from __future__ import annotations

import json
import math
from dataclasses import field
from typing import Any

from hpcm.schema import config_class, number_advice
from tuning.spaces.coordinates import Coordinate, Scalar, Suggest, same


@config_class
class Categorical:
    """One of ``choices``, which have no order."""

    choices: tuple[Any, ...]  # scalars, or lists of scalars, each once
    prior: Any  # the hand-tuned choice: the first trial, and what every result is compared with
    when: dict[str, Any] = field(default_factory=dict)  # parents' values; all must hold
    mutable: bool = False  # a population-based scheduler may change it during a run

    def __post_init__(self) -> None:
        if not self.choices:
            raise ValueError("choices is empty")
        for index, choice in enumerate(self.choices):
            if not _is_choice(choice) or isinstance(choice, list) != self.of_lists:
                raise ValueError(
                    f"choices holds {choice!r}; must be finite scalars, or all lists of them"
                )
            for other in self.choices[:index]:
                if same(choice, other):
                    raise ValueError(f"choices holds {choice!r} twice")
                if choice == other:  # to a searcher they are one
                    raise ValueError(f"choices holds {other!r} and {choice!r}, which are equal")
            if isinstance(choice, str) and (advice := number_advice(choice)):
                raise ValueError(f"choices holds {choice!r}{advice}")
        if not self.contains(self.prior):
            allowed = ", ".join(str(choice) for choice in self.choices)
            raise ValueError(f"prior is {self.prior!r}, not one of {allowed}")

    @property
    def of_lists(self) -> bool:
        """Whether the choices are lists."""
        return isinstance(self.choices[0], list)

    def contains(self, value: Any) -> bool:
        """Whether the field may get ``value``."""
        return any(same(value, choice) for choice in self.choices)

    def coordinates(self, path: str) -> tuple[Coordinate, ...]:
        """The choice itself, or the text of a list."""
        return (
            Coordinate(
                path=path,
                type="categorical",
                prior=self.code(self.prior),
                choices=tuple(self.code(choice) for choice in self.choices),
                mutable=self.mutable,
            ),
        )

    def read(self, path: str, suggest: Suggest) -> Any:
        """The field's value."""
        code = suggest(*self.coordinates(path))
        return json.loads(code) if self.of_lists else code

    def code(self, choice: Any) -> Scalar:
        """What is sampled for ``choice``."""
        return json.dumps(choice) if self.of_lists else choice


def _is_choice(choice: Any) -> bool:
    """Whether it is a finite scalar, or a list of some."""
    scalars = choice if isinstance(choice, list) else [choice]
    return bool(scalars) and all(map(_is_scalar, scalars))


def _is_scalar(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, bool | int | str)
