"""What a trial's processes left in its folder: the end of each log, without secrets."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from tuning.ledger.redaction import redacted

LOGS = ("error.txt", "stderr", "stdout")  # as Ray names them; the exceptions first
TAIL = 16 * 1024  # bytes


@dataclass(frozen=True)
class LogTail:
    """The end of one file."""

    name: str
    text: str
    cut: int  # bytes that stand before it


def log_tails(experiment: Path, trial: str) -> list[LogTail]:
    """The logs of a trial, known by the name of its folder, that are there and not empty.

    A trial that goes on within a session gets another folder, with ``_`` and four hex digits: the
    folder that was written to last is shown. Only files that lie in it are read: a link, or a name
    with separators, leads nowhere.
    """
    folder = max(_folders(experiment, trial), key=_written, default=None)
    if folder is None:
        return []
    return [tail for name in LOGS if (tail := _tail(folder / name)) is not None]


def _folders(experiment: Path, trial: str) -> list[Path]:
    pattern = re.compile(rf"{re.escape(trial)}(_[0-9a-f]{{4}})?")
    try:
        with os.scandir(experiment) as entries:
            found = [e for e in entries if pattern.fullmatch(e.name)]
            return [experiment / e.name for e in found if e.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _written(folder: Path) -> int:
    """When anything was last written to a log in ``folder``, in ns; 0: never."""
    newest = 0
    for name in LOGS:
        try:
            facts = (folder / name).lstat()
        except OSError:
            continue
        if stat.S_ISREG(facts.st_mode) and facts.st_size:
            newest = max(newest, facts.st_mtime_ns)
    return newest


def _tail(path: Path) -> LogTail | None:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(handle, "rb") as file:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode) or not facts.st_size:
            return None
        cut = max(0, facts.st_size - TAIL)
        file.seek(cut)
        content = file.read(TAIL)
    if cut:  # from the next whole line on: half a line may hold half a secret
        start = content.find(b"\n") + 1
        content, cut = content[start:], cut + start
    return LogTail(path.name, redacted(content.decode("utf-8", errors="replace")), cut)
