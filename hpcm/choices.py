"""Fields of a config that choose a part by its name: a dict of parts is the one list of them.

The dict is read when a config is read, so a part that is added to it later (`hpcm.register`) can be
chosen at once, and whoever lists the choices (tests, pages, messages) lists what is there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import FrozenInstanceError, dataclass, field, make_dataclass
from functools import cache
from typing import Any, ClassVar

from pydantic import ConfigDict, GetCoreSchemaHandler, TypeAdapter
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic_core import CoreSchema, PydanticKnownError, core_schema

# Of every config class: unknown keys and wrong types are refused.
STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@dataclass(frozen=True, eq=False)
class OneOf:
    """Annotation of a section that is one of ``parts``, config classes, chosen by its ``name``.

    ``optimizer: Annotated[OptimizerConfig, OneOf(OPTIMIZERS, default="adam")]``; ``default`` is the
    name of a section that has none. ``former``: parts of earlier versions, which are read in old
    records and offered nowhere.
    """

    parts: Mapping[str, type]
    default: str
    former: Mapping[str, type] = field(default_factory=dict)

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(self._read)

    def _read(self, value: Any, info: core_schema.ValidationInfo) -> Any:
        given = isinstance(value, Mapping)
        if not given and type(value) in (*self.parts.values(), *self.former.values()):
            return value
        name = str(value.get("name", self.default)) if given else self.default
        if name in self.former:
            return read_as(self.former[name], value, info.mode)
        if name not in self.parts:
            known = ", ".join(f"'{part}'" for part in self.parts)
            raise PydanticKnownError(
                "union_tag_invalid",
                {"discriminator": "'name'", "tag": name, "expected_tags": known},
            )
        return read_as(self.parts[name], value, info.mode)


@dataclass(frozen=True, eq=False)
class NameOf:
    """Annotation of a text that is a key of ``parts``; ``fits`` says which entries are allowed.

    ``metric: Annotated[str, NameOf(DISTORTIONS)]``.
    """

    parts: Mapping[str, Any]
    fits: Callable[[Any], bool] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The keys that are allowed, in the dict's order."""
        fits = self.fits
        return tuple(name for name, part in self.parts.items() if fits is None or fits(part))

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._read)

    def _read(self, value: Any) -> str:
        if not isinstance(value, str) or value not in self.names:
            known = ", ".join(f"'{name}'" for name in self.names)
            raise PydanticKnownError("literal_error", {"expected": known})
        return value


class EachOf(Mapping[str, Any]):
    """A section that holds a section for each of ``parts``: ``section.name`` or ``section[name]``.

    Immutable. A subclass names the dict of config classes and, in ``first``, those that are in the
    digest of a run even at their defaults, because they always were.
    """

    parts: ClassVar[Mapping[str, type]]
    first: ClassVar[tuple[str, ...]] = ()

    def __init__(self, **given: Any) -> None:
        """Parts that are not ``given`` have their defaults."""
        for name in given.keys() - self.parts.keys():
            raise TypeError(f"{type(self).__name__} has no part {name!r}")
        self.__dict__.update(
            {name: given[name] if name in given else part() for name, part in self.parts.items()}
        )

    def __getitem__(self, name: str) -> Any:
        return self.__dict__[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dict__)

    def __len__(self) -> int:
        return len(self.__dict__)

    def __getattr__(self, name: str) -> Any:  # called only if there is no such attribute
        raise AttributeError(f"{type(self).__name__} has no part {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        raise FrozenInstanceError(f"cannot assign to {name!r}")

    def __hash__(self) -> int:
        return hash(tuple(self.__dict__.items()))

    def __repr__(self) -> str:
        parts = ", ".join(f"{name}={part!r}" for name, part in self.items())
        return f"{type(self).__name__}({parts})"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(cls._read)

    @classmethod
    def _read(cls, value: Any, info: core_schema.ValidationInfo) -> EachOf:
        if isinstance(value, cls):
            return value
        sections = read_as(_sections(tuple(cls.parts.items())), value, info.mode)
        return cls(**vars(sections))


def read_as(kind: Any, value: Any, mode: str) -> Any:
    """``value`` as ``kind``, a type; in the mode ``json`` it is plain data, as JSON gives it."""
    if mode == "json":
        return adapter(kind).validate_json(json.dumps(value))
    return adapter(kind).validate_python(value)


@cache
def adapter(kind: Any) -> TypeAdapter[Any]:
    """What reads and checks plain data as ``kind``, a type."""
    return TypeAdapter(kind)


@cache
def _sections(parts: tuple[tuple[str, type], ...]) -> type:
    """A class with a field for each of ``parts``, so that pydantic names what is unknown."""
    fields = [(name, part, field(default_factory=part)) for name, part in parts]
    return pydantic_dataclass(config=STRICT)(make_dataclass("Sections", fields))
