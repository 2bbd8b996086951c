"""`docs/config.md`: every field of a run config, from the config classes themselves."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import yaml

from hpcm.choices import EachOf, OneOf
from hpcm.config import MAY_DIFFER, TrainConfig
from hpcm.schema import leaf, sections_of

PAGE = Path(__file__).parents[1] / "docs" / "config.md"

INTRODUCTION = """# Run configs

Every field of a run config, which `python -m hpcm train FILE` trains and a search exports. It is
made from the config classes; `make test ARGS="--regenerate tests/hpcm/test_config_page.py"` renews
it. What is left out has its default; `--set optimizer.lr=3.0e-4` changes a field from the command
line. A section with a `name` is a choice among parts: give the name, then fields of that part.
Methods, their sources and how each is proven: [methods.md](methods.md).

*Hot* fields may change while a run is under way: a resume takes them from the config, and PBT may
mutate them. All other fields decide which run it is, and a resume with another value is refused.
Only these may differ as well: UNDECIDED.
"""


def config_page() -> str:
    """The whole page, Markdown."""
    undecided = ", ".join(f"`{path}`" for path in sorted(MAY_DIFFER))
    introduction = INTRODUCTION.replace("UNDECIDED", undecided)
    blocks = [introduction, "## The run\n", _table(TrainConfig)]
    hints = get_type_hints(TrainConfig, include_extras=True)
    for field in fields(TrainConfig):
        if sections_of(hints[field.name]):
            blocks += [f"## `{field.name}`\n", *_section(field.name, hints[field.name], field)]
    return "\n".join(blocks)


def described(cls: type) -> Iterator[tuple[str, str, str]]:
    """Name, comment and default of each field, the comment from the end of its line."""
    hints = get_type_hints(cls, include_extras=True)
    for field in fields(cls):
        comment = comment_of(cls, field.name)
        kind = leaf(hints[field.name])
        kind = next(filter(_is_literal, (kind, *get_args(kind))), None)  # one may be null as well
        if kind is not None and len(get_args(kind)) > 1:
            choices = ", ".join(f"`{choice}`" for choice in get_args(kind))
            comment = f"{comment + ': ' if comment else ''}{choices}"
        yield field.name, comment, _default(field)


def first_line(cls: type) -> str:
    """What a config class says of itself first."""
    return (cls.__doc__ or "").strip().splitlines()[0].replace("``", "`")


def table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    """Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _section(path: str, hint: Any, field: Field[Any]) -> Iterator[str]:
    """What a field holds that is a section: its choices, its parts, or its fields."""
    choice = next((one for one in get_args(hint) if isinstance(one, OneOf)), None)
    if choice is not None:
        for name, part in choice.parts.items():
            usual = ", the default" if name == choice.default else ""
            yield f"### `{path}.name: {name}`{usual}\n"
            yield from _part(path, part)
    elif isinstance(hint, type) and issubclass(hint, EachOf):
        yield f"{first_line(hint)}\n"
        for name, part in hint.parts.items():
            yield f"### `{path}.{name}`\n"
            yield from _part(f"{path}.{name}", part)
    else:
        yield from _part(path, hint)


def _part(path: str, cls: type) -> Iterator[str]:
    """A config class: its first line, its fields, and the sections below it."""
    yield f"{first_line(cls)}\n"
    if any(True for _ in _rows(cls)):
        yield _table(cls)
    hints = get_type_hints(cls, include_extras=True)
    below: dict[Any, list[str]] = {}
    for field in fields(cls):
        if sections_of(hints[field.name]):
            below.setdefault(hints[field.name], []).append(field.name)
    for hint, names in below.items():
        choice = next((one for one in get_args(hint) if isinstance(one, OneOf)), None)
        if choice is None:
            yield f"Each of {', '.join(f'`{path}.{name}`' for name in names)}:\n"
            yield from _part(path, hint)
            continue
        yield f"`{path}.{names[0]}.name` is one of (default `{choice.default}`):\n"
        rows = (
            (f"`{name}`", first_line(part), _fields_of(part)) for name, part in choice.parts.items()
        )
        yield table(("name", "is", "fields and their defaults"), rows)


def _fields_of(cls: type) -> str:
    """The fields of a small section in one cell."""
    found = [
        f"`{name}` {default}: {comment}"
        for name, comment, default in described(cls)
        if name != "name"
    ]
    return "<br>".join(found)


def _table(cls: type) -> str:
    return table(("field", "means", "default", ""), _rows(cls))


def _rows(cls: type) -> Iterator[Sequence[str]]:
    """One row per field that is no section, and not the name that chose the class."""
    hints = get_type_hints(cls, include_extras=True)
    tagged = _is_literal(hints.get("name")) and len(get_args(hints["name"])) == 1
    hot = {field.name for field in fields(cls) if field.metadata.get("hot")}
    for name, comment, default in described(cls):
        if not sections_of(hints[name]) and not (name == "name" and tagged):
            yield f"`{name}`", comment, default, "hot" if name in hot else ""


def comment_of(cls: type, name: str) -> str:
    """The comment of a field in the class that defines it, at the end of its line or above it."""
    for base in cls.__mro__:
        if not is_dataclass(base) or name not in base.__dict__.get("__annotations__", {}):
            continue
        source = _source(base)
        found = re.search(rf"^    {name}: [^#\n]*  # (.+)$", source, re.MULTILINE)
        found = found or re.search(rf"^    # (.+)\n    {name}: ", source, re.MULTILINE)
        return found[1].replace("``", "`").replace("None", "null") if found else ""
    return ""


@cache
def _source(cls: type) -> str:
    return inspect.getsource(cls)


def _default(field: Field[Any]) -> str:
    if field.default is not MISSING:
        return f"`{_shown(field.default)}`"
    return "none" if field.default_factory is not MISSING else "required"


def _shown(value: Any) -> str:
    """As YAML; fractions of 3000 epochs are rounded."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, float):
        value = float(f"{value:.4g}")
    return yaml.safe_dump(value, default_flow_style=True).splitlines()[0]


def _is_literal(kind: Any) -> bool:
    return getattr(get_origin(kind), "_name", None) == "Literal"
