"""Plain data to frozen dataclasses, strictly, with errors a person can act on.

Every config class of the project is made with :func:`config_class` and read with :func:`load`.
Validation is pydantic's, the words are ours: ``where: path: what was given; what is allowed``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import json
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Any, Literal, TypeVar, cast, dataclass_transform, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass

from hpcm.choices import STRICT, EachOf, NameOf, OneOf, adapter
from hpcm.streams import printable

T = TypeVar("T")
MOST_PROBLEMS = 20  # in one message


class ConfigError(ValueError):
    """What a user can get wrong; the message is meant for them, its control characters escaped."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


@contextlib.contextmanager
def about(key: str) -> Iterator[None]:
    """Put ``key`` before the message of a :class:`ConfigError` raised inside."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from None


@dataclass_transform(kw_only_default=True, frozen_default=True)
def config_class(cls: type[T]) -> type[T]:
    """Make ``cls`` a frozen, keyword-only dataclass that refuses unknown keys and wrong types."""
    decorate: Any = pydantic_dataclass(frozen=True, kw_only=True, config=STRICT)
    return cast("type[T]", decorate(cls))


def hot(default: Any) -> Any:
    """A field that may change while a run is under way (PBT may mutate it; a restore obeys it)."""
    return dataclasses.field(default=default, metadata={"hot": True})


def added(default: Any) -> Any:
    """A field that earlier versions did not have: at its default it is not in a run's digest.

    ``default`` is the value, or for a section its class.
    """
    if isinstance(default, type):
        return dataclasses.field(default_factory=default, metadata={"added": True})
    return dataclasses.field(default=default, metadata={"added": True})


def bounded(
    config: Any, *names: str, least: float | None = None, above: float | None = None
) -> None:
    """Raise ``ValueError`` if a field of ``config`` is too small; None is a field not set."""
    for name in names:
        value = getattr(config, name)
        if value is None:
            continue
        if least is not None and value < least:
            raise ValueError(f"{name} is {value}; must be {least:g} or more")
        if above is not None and value <= above:
            raise ValueError(f"{name} is {value}; must be above {above:g}")


def load(cls: type[T], data: Any, where: str) -> T:
    """Build ``cls`` from plain data (what YAML gives).

    ``where`` names the file or flag in messages. Raises :class:`ConfigError`, a line per problem.
    """
    for path, odd in _odd(data):
        raise ConfigError(f"{where}: {path or 'top level'}: {shown(repr(odd))} is not plain data")
    try:
        reader: TypeAdapter[T] = adapter(cast("Any", cls))
        return reader.validate_json(json.dumps(data, allow_nan=True))
    except ValidationError as error:
        problems = _by_field(data, error.errors())
        lines = list(dict.fromkeys(_message(cls, data, *one) for one in problems[:MOST_PROBLEMS]))
        more = len(problems) - MOST_PROBLEMS
        lines += [f"and {more:,} more"] if more > 0 else []
        raise ConfigError("\n".join(f"{where}: {line}" for line in lines)) from None


def to_plain(value: Any, *, every: bool = True) -> Any:
    """The inverse of :func:`load`: nested dicts and lists of scalars.

    Unless ``every`` field is wanted, those that were :func:`added` are left out at their defaults.
    """
    if isinstance(value, tuple | list):
        return [to_plain(item, every=every) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        items = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    elif isinstance(value, Mapping):
        items = dict(value)
    else:
        return value
    unused = set() if every else _unused(value)
    return {key: to_plain(item, every=every) for key, item in items.items() if key not in unused}


def set_path(data: dict[str, Any], path: str, value: Any) -> None:
    """Set ``a.b.c`` in nested dicts, making the dicts on the way."""
    *parents, last = path.split(".")
    for parent in parents:
        nested = data.setdefault(parent, {})
        if not isinstance(nested, dict):
            raise ConfigError(f"{path}: '{parent}' is {nested!r}, not a section")
        data = nested
    data[last] = value


def leaves(plain: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one flat dict: ``{"a": {"b": 1}}`` gives ``{"a.b": 1}``."""
    flat: dict[str, Any] = {}
    for key, value in plain.items():
        path = f"{prefix}{key}"
        flat |= leaves(value, f"{path}.") if isinstance(value, Mapping) else {path: value}
    return flat


def overlay(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """``top`` laid over ``base``, section by section; one with another ``name`` replaces it."""
    merged = dict(base)
    for key, value in top.items():
        old = merged.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            renamed = "name" in value and value["name"] != old.get("name")
            merged[key] = dict(value) if renamed else overlay(old, value)
        else:
            merged[key] = value
    return merged


@dataclasses.dataclass(frozen=True)
class FieldInfo:
    """One leaf of a config tree: where it is, which choice of its parent has it, its type."""

    path: str
    owner: type
    annotation: Any
    hot: bool


def fields_of(cls: type, prefix: str = "") -> Iterator[FieldInfo]:
    """Every leaf field below ``cls``, over all choices of its tagged parts."""
    hints = _hints(cls)
    for field in dataclasses.fields(cls):
        path = f"{prefix}{field.name}"
        parts = sections_of(hints[field.name])
        for below, part in parts:
            yield from fields_of(part, f"{path}.{below}")
        if not parts:
            kind = leaf(hints[field.name])
            yield FieldInfo(path, cls, kind, bool(field.metadata.get("hot")))


@cache
def _hints(cls: type) -> dict[str, Any]:
    """The types of the fields of a class: a third of the time that reading a space took."""
    return get_type_hints(cls, include_extras=True)


def field_of(cls: type, path: str) -> tuple[FieldInfo, ...]:
    """The leaf at ``path`` below ``cls``: one entry per choice of a part that has it.

    Raises :class:`ConfigError` with the nearest name if there is none.
    """
    known = tuple(fields_of(cls))
    found = tuple(info for info in known if info.path == path)
    if not found:
        raise ConfigError(f"{path}: no such field{did_you_mean(path, {i.path for i in known})}")
    return found


def did_you_mean(given: object, allowed: Any) -> str:
    """``. Did you mean 'x'?`` when something close is allowed, else the list of what is."""
    names = sorted(str(name) for name in allowed)
    close = difflib.get_close_matches(str(given), names, n=1, cutoff=0.6)
    if close:
        return f". Did you mean '{close[0]}'?"
    return f"; allowed: {', '.join(names)}" if 0 < len(names) <= 24 else ""


def shown(text: str, most: int = 200) -> str:
    """``text`` for a message: on one line, cut if it is long."""
    line = text.replace("\n", "\\n")
    return line if len(line) <= most else f"{line[:most]}.. ({len(line):,} characters)"


def number_advice(text: str) -> str:
    """``. YAML reads 1e-4 as text; write 1.0e-4`` if text is a number, else nothing."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        return ""
    if not number.is_finite():
        return ""
    mantissa, e, exponent = f"{number:e}".partition("e")
    if "e" not in text.lower():
        return f". It is in quotes; write {shown(text)}"
    whole = "" if "." in mantissa else ".0"
    return f". YAML reads {text} as text; write {mantissa}{whole}{e}{exponent}"


def _odd(data: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Everything below ``data`` that JSON cannot hold, with its path."""
    if isinstance(data, Mapping):
        for key, value in data.items():
            below = f"{path}.{key}" if path else str(key)
            yield from _odd(value, below) if isinstance(key, str) else [(below, key)]
    elif isinstance(data, list | tuple):
        for index, value in enumerate(data):
            yield from _odd(value, f"{path}.{index}" if path else str(index))
    elif not (data is None or isinstance(data, bool | int | float | str)):
        yield path, data


def sections_of(annotation: Any) -> list[tuple[str, type]]:
    """The config classes that a field may hold, each with the path to it below the field.

    Several for a section that is chosen by name (all with the path ""), none for a leaf.
    """
    if isinstance(annotation, OneOf):
        return [("", part) for part in annotation.parts.values()]
    if isinstance(annotation, type) and issubclass(annotation, EachOf):
        return [(f"{name}.", part) for name, part in annotation.parts.items()]
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        return [("", annotation)]
    return [found for one in get_args(annotation) for found in sections_of(one)]


def leaf(annotation: Any) -> Any:
    """The type of a leaf; a name out of a dict is a literal of its keys."""
    for one in getattr(annotation, "__metadata__", ()):
        return Literal[one.names] if isinstance(one, NameOf) else annotation.__origin__
    return annotation


def _unused(section: Any) -> set[str]:
    """The keys of a section that earlier versions did not have and that are at their defaults."""
    if isinstance(section, EachOf):
        late = section.keys() - set(section.first)
        return {name for name in late if section[name] == section.parts[name]()}
    if not dataclasses.is_dataclass(section):
        return set()
    return {
        f.name
        for f in dataclasses.fields(section)
        if f.metadata.get("added") and getattr(section, f.name) == _default(f)
    }


def _default(field: dataclasses.Field[Any]) -> Any:
    made = field.default_factory
    return field.default if made is dataclasses.MISSING else made()


def _by_field(data: Any, problems: list[Any]) -> list[list[Any]]:
    """The pydantic errors of each field: several if it may be one of several things."""
    found: dict[tuple[str, str], list[Any]] = {}
    for one in problems:
        path = _path(data, one["loc"], missing=one["type"] == "missing")
        found.setdefault((path, repr(one["input"])), []).append(one)
    return list(found.values())


def _message(cls: type, data: Any, problem: Any, *others: Any) -> str:
    """The pydantic errors of one field in our words."""
    given, kind, context = problem.get("input"), problem["type"], problem.get("ctx", {})
    path = _path(data, problem["loc"], missing=kind == "missing")
    if others or kind == "literal_error":
        known = [one.get("ctx", {}).get("expected") or one["type"] for one in (problem, *others)]
        names = ", ".join(known).replace(" or ", ", ").split(", ")
        allowed = sorted(name.strip("'").partition("_type")[0] for name in names)
        return f"{path}: {shown(repr(given))} is unknown; allowed: {', '.join(allowed)}"
    if kind in ("unexpected_keyword_argument", "extra_forbidden"):
        parent, _, key = path.rpartition(".")
        prefix = f"{parent}." if parent else ""
        below = (info.path for info in fields_of(cls) if info.path.startswith(prefix))
        siblings = {name[len(prefix) :].split(".")[0] for name in below}
        if key in siblings:  # a union's member was meant that has no such field
            return f"{path}: unknown key; only another {prefix}name has it"
        return f"{path}: unknown key{did_you_mean(key, siblings)}"
    if kind == "union_tag_invalid":
        allowed = [tag.strip().strip("'") for tag in context["expected_tags"].split(",")]
        return f"{path}.name: {context['tag']!r} is unknown{did_you_mean(context['tag'], allowed)}"
    if kind == "missing":
        return f"{path}: missing"
    is_text = kind in ("float_type", "int_type") and isinstance(given, str)
    advice = number_advice(given) if is_text else ""
    message = str(problem["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    text = f"{shown(repr(given))}: " if not isinstance(given, dict) else ""
    return f"{path or 'top level'}: {text}{message}{advice}"


def _path(data: Any, location: tuple[Any, ...], *, missing: bool) -> str:
    """The location as the user wrote it: pydantic adds the tag of a union's member, we drop it."""
    path: list[str] = []
    for index, part in enumerate(location):
        is_item = isinstance(data, list) and isinstance(part, int) and part < len(data)
        if is_item or (isinstance(data, dict) and part in data):
            data = data[part]
        elif not (missing and index == len(location) - 1):
            continue  # the tag of a union's member
        path.append(str(part))
    return ".".join(path)
