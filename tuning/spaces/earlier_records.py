"""What the record of an experiment means that an earlier version wrote, without some keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from tuning.spaces.scheduler_section import SCHEDULERS
from tuning.spaces.searcher_section import SEARCHERS

#: Keys that earlier experiments did not record, with the value that means what they did. It is no
#: part of a digest, so that theirs stay; what a file leaves out may mean another.
BEFORE: dict[str, dict[str, Any]] = {
    "scheduler": {"pilots": 0, "agreement": 0.4},
    "searcher": {"incumbent_share": 0.0},
}


def as_before(name: str, section: Mapping[str, Any]) -> Mapping[str, Any]:
    """A recorded section, with the keys that its writer did not know."""
    kinds = {"scheduler": SCHEDULERS, "searcher": SEARCHERS}
    kind = kinds[name].get(str(section.get("name"))) if name in kinds else None
    if kind is None:
        return section
    known = {field.name for field in fields(kind)}
    return {key: v for key, v in BEFORE[name].items() if key in known} | dict(section)


def is_as_before(path: str, value: Any) -> bool:
    """Whether a key of a space says what its absence said."""
    name, _, key = path.partition(".")
    return key in BEFORE.get(name, {}) and BEFORE[name][key] == value
