"""The lines of a ledger as bytes: whole or torn, and each with a checksum of all that is before it.

The checksum of a line is the CRC-32 of the line's own bytes, begun with the value of the line
before it. So a changed, missing, added or moved line is found, wherever it is, except that whole
lines which are missing at the very end cannot be seen. Lines of format 1 have none: the first line
with a checksum covers them all.
"""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any

from hpcm.files import open_file, parse_json, readable
from hpcm.schema import ConfigError, shown

PIECE = 65536  # bytes
OPENING = b', "crc": "'  # before the eight hexadecimal digits that end a line, with '"}'
TAIL = len(OPENING) + 8 + 3


class Chain:
    """The checksum of all lines so far. ``protected``: whether any of them had one."""

    def __init__(self) -> None:
        self.value = 0
        self.protected = False

    def written(self, fields: Mapping[str, Any]) -> bytes:
        """A line with its checksum, which counts from then on."""
        payload = json.dumps(fields).encode()[:-1]
        self.value, self.protected = zlib.crc32(payload, self.value), True
        return payload + OPENING + f'{self.value:08x}"}}\n'.encode()

    def read(self, line: bytes) -> Any:
        """The fields of a line. Raises ValueError if it is damaged or its checksum differs."""
        payload, end = line[:-TAIL], line[-TAIL:]
        if not end.startswith(OPENING):
            if self.protected:
                raise ValueError("it has no checksum")
            fields = _parsed(line)
            self.value = zlib.crc32(line, self.value)
            return fields
        value = zlib.crc32(payload, self.value)
        if end[len(OPENING) : -3] != f"{value:08x}".encode():
            raise ValueError("its checksum does not follow from the lines before it")
        fields = _parsed(payload + b"}")
        self.value, self.protected = value, True
        return fields


def whole_lines(path: Path, offset: int = 0) -> Iterator[bytes]:
    """The lines from a byte on, one at a time, each with its end; none if there is no file.

    Raises :class:`ConfigError` for what is no regular file, or cannot be read.
    """
    with readable(path), contextlib.suppress(FileNotFoundError), open_file(path) as file:
        file.seek(offset)
        yield from takewhile(lambda line: line.endswith(b"\n"), file)


def _parsed(line: bytes) -> Any:
    return parse_json(line.decode(), "its text", infinite=True)  # a metric may be NaN


def damaged(path: Path, number: int, line: bytes, reason: str = "") -> ConfigError:
    """The refusal of a ledger: what it decided is not guessed."""
    text = line.decode(errors="backslashreplace").removesuffix("\n")
    why = f" ({reason})" if reason else ""
    return ConfigError(f"{path}: line {number} is damaged{why}: {shown(repr(text), most=80)}")


def cut_torn_line(path: Path) -> None:
    """Drop what follows the last newline: an event that was cut short did not happen."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        end = start = file.seek(0, os.SEEK_END)
        whole = 0
        while start and not whole:  # from the end, in pieces: a ledger may have 100s of megabytes
            piece, start = start, max(0, start - PIECE)
            file.seek(start)
            whole = file.read(piece - start).rfind(b"\n") + 1
        if start + whole < end:
            file.truncate(start + whole)
            os.fsync(file.fileno())


def salvage(path: Path, target: Path) -> tuple[int, int]:
    """Copy the whole lines before the first damaged one; gives their number, and that of all.

    Raises :class:`ConfigError` if ``target`` exists, or ``path`` cannot be read.
    """
    from tuning.ledger.events import from_line

    with readable(path):
        open_file(path).close()  # before anything is made
    chain, kept, total = Chain(), 0, 0
    with contextlib.ExitStack() as stack:
        try:
            copy = stack.enter_context(target.open("xb"))
        except FileExistsError:
            raise ConfigError(f"{target}: exists already; give another name") from None
        intact = True
        for line in whole_lines(path):
            total += 1
            if intact:
                try:
                    from_line(chain.read(line))
                except ValueError:
                    intact = False
                    continue
                copy.write(line)
                kept += 1
    return kept, total
