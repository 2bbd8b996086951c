"""`load_space`: from a search-space file to a checked search space, or to all its problems."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hpcm.schema import ConfigError, load, to_plain
from tuning.spaces.checks import (
    check_base,
    check_parameters,
    check_sections,
    read_parameters,
    split_line,
    warnings_of,
)
from tuning.spaces.documents import SECTIONS, read_document
from tuning.spaces.probes import check_configs
from tuning.spaces.sections import Sections
from tuning.spaces.space import SearchSpace


def load_space(
    name_or_path: str | Path,
    profile: str = "cluster",
    overrides: Sequence[str] = (),
    *,
    begun: SearchSpace | None = None,
) -> SearchSpace:
    """Read and check a search space: a name in ``search_spaces/`` or a file.

    ``overrides`` are ``key.path=value`` on the file's own keys, laid over its profile. ``begun`` is
    the space of an experiment that goes on: what the file does not say of scheduler and searcher
    stays as it was there, whatever the default is now. Raises :class:`ConfigError` with one line
    per problem.
    """
    document = read_document(name_or_path, profile, overrides)
    data = document.data
    base = data.get("base", {})
    parameters, problems = read_parameters(data["parameters"])
    try:
        given = {name: data[name] for name in SECTIONS if name in data}
        given |= {} if begun is None else _as_begun(given, begun)
        sections = load(Sections, given, "")
    except ConfigError as error:
        problems += [split_line(line.removeprefix(": ")) for line in str(error).splitlines()]
        sections = Sections()
    unread = set(data["parameters"]) - set(parameters)
    problems += [*document.problems, *check_base(base), *check_parameters(parameters, unread, base)]
    if any(path != "name" for path, _ in problems):  # a wrong name hides no other problem
        document.refuse(problems)
    space = SearchSpace(
        name=document.name,
        question=document.question,
        profile=profile,
        profiles=document.profiles,
        path=os.path.abspath(document.path),
        base=copy.deepcopy(base),
        parameters=parameters,
        **{name: getattr(sections, name) for name in SECTIONS},
    )
    document.refuse([*problems, *check_sections(space), *check_configs(space)])
    return replace(space, warnings=tuple(warnings_of(space)))


def _as_begun(given: Mapping[str, Any], begun: SearchSpace) -> dict[str, Any]:
    """The policy sections of an experiment with what the file gives laid over them."""
    found = {}
    for name in ("scheduler", "searcher"):
        old, own = to_plain(getattr(begun, name)), given.get(name, {})
        if own.get("name", old["name"]) == old["name"]:
            found[name] = {**old, **own}
    return found
