"""Parts of one's own in tests: as `register` and `--import` leave them, taken away again."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from hpcm import parts


@contextmanager
def as_before() -> Iterator[None]:
    """What is registered and imported inside is gone afterwards."""
    modules, kinds = (
        set(sys.modules),
        {name: dict(kind.parts) for name, kind in parts.KINDS.items()},
    )
    parts._imported.clear()
    yield
    for kind, known in kinds.items():
        parts.KINDS[kind].parts.clear()
        parts.KINDS[kind].parts.update(known)
    for file in parts._imported:
        name = file.removesuffix(".py")
        if name not in modules:
            sys.modules.pop(name, None)
    parts._imported.clear()
    parts._registered.clear()
