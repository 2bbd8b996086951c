"""The config that an experiment has exported, read again: its header, and the commands in it."""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path

from hpcm.files import read_bytes
from hpcm.schema import ConfigError

BEST_FILE = "best.yaml"  # in the experiment's folder
LARGEST_HEADER = 1 << 20  # bytes


def exported_header(directory: Path) -> list[str]:
    """The header of the config that an experiment has exported, or why it cannot be read.

    Empty: it has exported none.
    """
    path = directory / BEST_FILE
    if not path.is_file():
        return []
    try:
        text = read_bytes(path, LARGEST_HEADER).decode(errors="replace")
    except ConfigError as error:
        return [str(error)]
    head = takewhile(lambda line: line.startswith("#"), text.splitlines())
    return [line.removeprefix("#").removeprefix(" ") for line in head]


def exported_commands(directory: Path) -> list[str]:
    """The last paragraph of that header: what can be done with the config."""
    lines = exported_header(directory)
    blank = max((place for place, line in enumerate(lines) if not line), default=-1)
    return lines[blank + 1 :]
