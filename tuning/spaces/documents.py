"""The search-space file as written: found, read, extended, and laid under a profile and overrides.

Nothing here knows what a key below the top level means.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import hpcm
from hpcm.schema import MOST_PROBLEMS, ConfigError, did_you_mean, overlay, shown
from hpcm.yaml_files import override, read_yaml
from tuning.spaces.sections import Sections

SHIPPED = Path(__file__).resolve().parents[2] / "search_spaces"
EXPORTS = "best"  # beside a space: where the best config of a search goes
SECTIONS = tuple(field.name for field in fields(Sections))
LAID_OVER = ("base", *SECTIONS)  # what a profile may change: all but the question
AUTO = "auto"  # the --profile that chooses one; no profile is called so
Problem = tuple[str, str]  # path in the file, what is wrong
TOP_LEVEL = ("name", "extends", "base", "parameters", *SECTIONS, "profiles")


@dataclass(frozen=True)
class Document:
    """One search space as plain data, after `extends`, profile and overrides; not yet checked."""

    path: Path
    name: str
    question: str
    profile: str
    profiles: tuple[str, ...]
    data: dict[str, Any]  # base, parameters and the sections that were given
    overlaid: dict[str, Any]  # what the profile laid over the file
    overrides: tuple[str, ...]
    problems: tuple[Problem, ...]  # with the top level: path, what is wrong

    def refuse(self, problems: Iterable[Problem]) -> None:
        """Raise :class:`ConfigError` with a line per problem, given as path and message, if any."""
        lines = list(dict.fromkeys(self._line(path, message) for path, message in problems))
        if lines:
            more = len(lines) - MOST_PROBLEMS
            rest = [f"and {more} more problems"] if more > 0 else []
            raise ConfigError("\n".join([*lines[:MOST_PROBLEMS], *rest]))

    def _line(self, path: str, message: str) -> str:
        """The file or the flag that gave ``path``, the path as written there, and what is wrong."""
        where = str(self.path)
        for text in reversed(self.overrides):  # the last one counts
            key = text.partition("=")[0]
            if path == key or path.startswith(f"{key}.") or key.startswith(f"{path}."):
                return f"--set {shown(text)}: {path}: {message}"
            if path.partition(".")[0] == key.partition(".")[0]:
                where += f" with --set {shown(text)}"
        if given_in(self.overlaid, path):
            path = f"profiles.{self.profile}.{path}"
        return f"{where}: {path}: {message}"


def shipped_spaces() -> tuple[str, ...]:
    """Names of the search spaces that come with the project."""
    return tuple(sorted(path.stem for path in SHIPPED.glob("*.yaml")))


def read_document(name_or_path: str | Path, profile: str, overrides: Sequence[str]) -> Document:
    """Find and read a search space. Raises :class:`ConfigError` with one line per problem."""
    path = _find(str(name_or_path), Path())
    data, problems = _read_extended(path)
    profiles = data.pop("profiles", {})
    names = _names(profiles)
    if profile not in names:
        hint = did_you_mean(profile, names)
        raise ConfigError(f"{path}: there is no profile '{profile}'{hint} (give it with --profile)")
    data = overlay(data, profiles.get(profile) or {})
    for text in overrides:
        _apply(data, text)
    return Document(
        path=path,
        name=path.stem,
        question=_question(path),
        profile=profile,
        profiles=names,
        data=data,
        overlaid=profiles.get(profile) or {},
        overrides=tuple(overrides),
        problems=tuple(problems),
    )


def profiles_of(name_or_path: str | Path) -> tuple[str, ...]:
    """The profiles of a search space. Raises :class:`ConfigError` if its file cannot be read."""
    data, _ = _read_extended(_find(str(name_or_path), Path()))
    return _names(data.get("profiles", {}))


def _is_run_field(key: str) -> bool:
    return key in (field.name for field in fields(hpcm.TrainConfig))


def _names(profiles: Iterable[str]) -> tuple[str, ...]:
    """What may be given as --profile: every file is one, as it is written."""
    return (*(name for name in profiles if name != "cluster"), "cluster")


def _find(name: str, folder: Path) -> Path:
    """The file of a space: a path if it looks like one, else a shipped name."""
    if name.endswith((".yaml", ".yml")) or "/" in name:
        path = folder / os.path.expanduser(name)
        if not os.path.isfile(path):
            known = Path(name).stem in shipped_spaces()
            hint = f"; the shipped search space is called {path.stem}" if known else ""
            kind = "it is a folder" if os.path.isdir(path) else "there is no such file"
            raise ConfigError(f"{shown(str(path))}: {kind}{hint}")
        return path
    if name not in shipped_spaces():
        names = shipped_spaces()
        close = did_you_mean(name, names).partition(";")[0]
        raise ConfigError(
            f"{shown(name) or repr(name)}: there is no such search space{close}"
            f" (shipped: {', '.join(names)}; or give the path of a .yaml file)"
        )
    path = SHIPPED / f"{name}.yaml"
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _read_extended(path: Path) -> tuple[dict[str, Any], list[Problem]]:
    """The file's data, laid over that of the file it extends; and what is wrong with its keys."""
    data, problems = _read_one(path)
    if "extends" not in data:
        return data, problems
    try:
        parent_path = _find(data.pop("extends"), path.parent)
    except ConfigError as error:
        raise ConfigError(f"{path}: extends: {error}") from None
    if parent_path.resolve() == path.resolve():
        raise ConfigError(f"{path}: extends: a file cannot extend itself")
    inherited, more = _read_one(parent_path)
    if "extends" in inherited:
        raise ConfigError(
            f"{path}: extends: {parent_path.name} itself extends {inherited['extends']};"
            " only one level is allowed"
        )
    own = data.pop("parameters", {})
    for key, spec in own.items():
        if spec is None and key not in inherited["parameters"]:
            problems.append(
                (f"parameters.{key}", "null drops an inherited parameter; none is named so")
            )
    parameters = _extended_parameters(inherited["parameters"], own)
    if not parameters:
        problems.append(("parameters", "every inherited one is dropped; name one to search"))
    return {**overlay(inherited, data), "parameters": parameters}, [*problems, *more]


def _read_one(path: Path) -> tuple[dict[str, Any], list[Problem]]:
    """One file's data without its name. Raises :class:`ConfigError` if its sections are none."""
    data = read_yaml(path)
    shape = list(_misshapen(data))
    problems = list(_unknown(path, data))
    if shape:
        lines = dict.fromkeys(f"{path}: {key}: {message}" for key, message in [*problems, *shape])
        raise ConfigError("\n".join(lines))
    return {key: value for key, value in data.items() if key in TOP_LEVEL[1:]}, problems


def _extended_parameters(inherited: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The parent's parameters with the file's own: null drops one, one without `type` amends it."""
    merged = dict(inherited)
    for key, spec in own.items():
        if spec is None:
            merged.pop(key, None)
        elif isinstance(spec, dict) and "type" not in spec and isinstance(merged.get(key), dict):
            merged[key] = {**merged[key], **spec}
        else:
            merged[key] = spec
    return merged


def _unknown(path: Path, data: Mapping[str, Any]) -> Iterator[Problem]:
    """Keys of the top level that mean nothing, and a name that is not the file's."""
    for key in data:
        if key not in TOP_LEVEL:
            hint = did_you_mean(key, TOP_LEVEL)
            if _is_run_field(key):
                hint = f"; a field of the run config stands under base: base.{key}"
            yield str(key), f"unknown key{hint}"
    name = data.get("name", path.stem)
    if name != path.stem:
        yield "name", f"{name!r}, but the file is {path.name}; give both one name"
    elif not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}", name):
        yield "name", f"{shown(repr(name))}; use up to 64 letters, digits, - and _"


def _misshapen(data: Mapping[str, Any]) -> Iterator[Problem]:
    """Sections whose values are not of a section's form."""
    if "extends" in data and not isinstance(data["extends"], str):
        yield "extends", f"{data['extends']!r}; give the name or the path of one space"
    if data.get("parameters", {}) == {} and "extends" not in data:
        yield "parameters", "missing; name at least one field to search"
    for key in ("base", "parameters", *SECTIONS, "profiles"):
        if key in data and not isinstance(data[key], dict):
            yield key, f"{shown(repr(data[key]))}; must be a mapping"
    if isinstance(data.get("profiles"), dict):
        yield from _profile_problems(data["profiles"])


def _profile_problems(profiles: Mapping[str, Any]) -> Iterator[Problem]:
    for name, changes in profiles.items():
        if name == AUTO:
            yield f"profiles.{name}", "the name says that one is chosen; give it another"
        if not isinstance(changes, dict):
            yield f"profiles.{name}", f"{shown(repr(changes))}; must be a mapping"
            continue
        for key, value in changes.items():
            if key not in LAID_OVER:
                hint = did_you_mean(key, LAID_OVER)
                if key == "parameters":
                    hint = "; what is searched is the same under every profile"
                yield f"profiles.{name}.{key}", f"unknown key{hint}"
            elif not isinstance(value, dict):
                yield f"profiles.{name}.{key}", f"{shown(repr(value))}; must be a mapping"


def _apply(data: dict[str, Any], text: str) -> None:
    """Lay one `key.path=value` over ``data``; parameters have dots in their names: looked up."""
    laid: dict[str, Any] = override(text)
    key = text.partition("=")[0]
    top, _, rest = key.partition(".")
    if top not in ("parameters", *LAID_OVER):
        hint = did_you_mean(top, ("parameters", *LAID_OVER))
        if _is_run_field(top):
            hint = f"; write base.{key} to fix it for all trials"
        raise ConfigError(f"--set {shown(text)}: '{key}' is no key of a search space{hint}")
    if not rest:
        raise ConfigError(f"--set {shown(text)}: '{key}' is a section; set its keys, {key}.KEY")
    if top != "parameters":
        data.update(overlay(data, laid))
        return
    nested: Any = laid
    for part in key.split("."):
        nested = nested[part]
    for path, spec in data["parameters"].items():
        if rest.startswith(f"{path}.") and isinstance(spec, dict):
            data["parameters"][path] = {**spec, rest.removeprefix(f"{path}."): nested}
            return
    declared = did_you_mean(rest.rpartition(".")[0], data["parameters"])
    if rest in data["parameters"]:
        declared = f"; it is one, set its keys: parameters.{rest}.KEY"
    raise ConfigError(f"--set {shown(text)}: no key of a parameter is named so{declared}")


def _question(path: Path) -> str:
    """The first paragraph of the file's leading comment."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.removeprefix("#").strip()
        if not line.startswith("#") or not text:
            break
        lines.append(text)
    return " ".join(lines)


def given_in(data: Any, path: str) -> bool:
    """Whether nested ``data`` gives ``path``."""
    for part in path.split("."):
        if not isinstance(data, dict) or part not in data:
            return False
        data = data[part]
    return True
