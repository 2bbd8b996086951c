"""Two spaces compared: what differs, and whether their trials may be compared.

A space is given by the keys of its file: values by dotted path.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hpcm import defaults

#: Keys that earlier experiments did not record, with the value that means what they did. It is no
#: part of a digest, so that theirs stay; what a file leaves out may mean another.
BEFORE: dict[str, dict[str, Any]] = {
    "scheduler": {"pilots": 0, "agreement": 0.4},
    "searcher": {"incumbent_share": 0.0, "at_rungs": False},
}

# Differences here do not change what a trial's numbers mean; all others do.
HARMLESS = (
    "path",
    "profiles",
    "warnings",
    *(f"base.{path}" for path in defaults.HARMLESS),
    "budget",
    "confirm",
    "faults",
    "name",
    "objective.constraints",
    "objective.pareto",
    "objective.reference.experiment",
    "question",
    "resources",
    "searcher",
)


@dataclass(frozen=True)
class Change:
    """One key in which two spaces differ. ``breaks``: their trials are not comparable."""

    path: str
    old: Any
    new: Any
    breaks: bool

    def __str__(self) -> str:
        return f"{self.path}: {_shown(self.old)} -> {_shown(self.new)}"


def digest_of(keys: Mapping[str, Any]) -> str:
    """12 hex digits over what decides whether trials of two spaces may be compared."""
    unrecorded = {f"{name}.{key}": v for name, known in BEFORE.items() for key, v in known.items()}
    flat = sorted(
        (path, value)
        for path, value in keys.items()
        if not (_harmless(path) or (path in unrecorded and value == unrecorded[path]))
    )
    return hashlib.sha256(json.dumps(flat).encode()).hexdigest()[:12]


def changes(
    before: Mapping[str, Any], after: Mapping[str, Any], breaking: Collection[str] = ()
) -> list[Change]:
    """What differs; empty if both search the same thing in the same way.

    ``breaking``: paths that break comparability here, although they do not elsewhere.
    """
    return [
        Change(path, before.get(path), after.get(path), path in breaking or not _harmless(path))
        for path in dict.fromkeys([*before, *after])
        if before.get(path) != after.get(path) or (path in before) != (path in after)
    ]


def by_path(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf of nested dicts with its dotted path."""
    for key, value in data.items():
        if isinstance(value, Mapping) and value:
            yield from by_path(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _harmless(path: str) -> bool:
    return any(path == known or path.startswith(f"{known}.") for known in HARMLESS)


def _shown(value: Any) -> str:
    return "nothing" if value is None else str(value)
