"""Files to read: only regular ones are opened, and what can go wrong is one message.

What a person or another program named may be anything: a folder, a pipe that nobody writes to, a
circle of links, text in another encoding, JSON that Python reads and nobody means.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any

from hpcm.schema import ConfigError, shown

LARGEST_WHOLE = 2**63  # of a whole number in JSON: what fits into 64 bits

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_file(path: str | Path) -> BufferedReader:
    """Open a regular file to read bytes; what a link points to counts.

    Raises OSError, of which ``strerror`` says why; a pipe or a folder is refused, not waited for.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:  # a null character
        raise OSError(0, f"no name of a file: {error}", str(path)) from None
    kind = stat.S_IFMT(os.fstat(handle).st_mode)
    if kind != stat.S_IFREG:
        os.close(handle)
        raise OSError(0, f"{_KINDS.get(kind, 'something else')}, not a file", str(path))
    return os.fdopen(handle, "rb")


@contextmanager
def readable(path: str | Path) -> Iterator[None]:
    """Turn what goes wrong with the file at ``path`` inside into :class:`ConfigError`."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None


def read_bytes(path: str | Path, most: int | None = None) -> bytes:
    """All of a file, of at most ``most`` bytes. Raises :class:`ConfigError`."""
    with readable(path), open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        if most is not None and size > most:
            raise ConfigError(f"{path}: {size:,} bytes; at most {most:,} are read")
        return file.read()


def read_text(path: str | Path, most: int | None = None) -> str:
    """All of a file of UTF-8 text. Raises :class:`ConfigError`."""
    try:
        return read_bytes(path, most).decode()
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: cannot be read: not UTF-8 text") from None


def read_json(path: str | Path, what: str = "valid JSON", infinite: bool = False) -> Any:
    """What a file of JSON holds, see :func:`parse_json`. Raises :class:`ConfigError`."""
    return parse_json(read_text(path), str(path), what, infinite)


def parse_json(text: str, where: str, what: str = "valid JSON", infinite: bool = False) -> Any:
    """The value of JSON text, stricter than Python: numbers are finite, whole ones of 64 bits.

    ``infinite`` lets NaN and Infinity pass, which Python writes. Raises :class:`ConfigError`:
    ``where: not {what}: why``.
    """
    constant, number = (None, None) if infinite else (_refused, _finite)
    try:
        return json.loads(text, parse_constant=constant, parse_float=number, parse_int=_whole)
    except RecursionError:
        reason = "nested too deeply"
    except ValueError as error:
        reason = str(error)
    raise ConfigError(f"{where}: not {what}: {reason}")


def _refused(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _finite(written: str) -> float:
    number = float(written)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"{shown(written, 40)} is too large")
    return number


def _whole(written: str) -> int:
    if len(written) > 20 or not -LARGEST_WHOLE <= int(written) < LARGEST_WHOLE:
        raise ValueError(f"{shown(written, 40)} is too large")
    return int(written)
