"""Dicts of config classes that stand beside the code which does their work.

That code imports this room, so the dicts of this room name it as text: ``"module:Class"``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module
from typing import Any


class LateParts(MutableMapping[str, Any]):
    """Config classes by name; one that is given as ``"module:Class"`` is imported when asked for.

    Raises what an import raises.
    """

    def __init__(self, parts: Mapping[str, str]) -> None:
        self._parts: dict[str, Any] = dict(parts)

    def __getitem__(self, name: str) -> Any:
        part = self._parts[name]
        if isinstance(part, str):
            module, _, attribute = part.partition(":")
            part = self._parts[name] = getattr(import_module(module), attribute)
        return part

    def __contains__(self, name: object) -> bool:
        return name in self._parts

    def __setitem__(self, name: str, part: Any) -> None:
        self._parts[name] = part

    def __delitem__(self, name: str) -> None:
        del self._parts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)
