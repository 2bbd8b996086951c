"""``driver.lock``: one driver at a time for an experiment, and who it is."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from hpcm.files import open_file, parse_json, read_text, readable
from hpcm.schema import about, bounded, config_class, load, to_plain
from tuning.spaces.refusals import NotNowError

LOCK_FILE = "driver.lock"


@config_class
class Driver:
    """The process that a lock file names."""

    pid: int
    created: float  # seconds since 1970
    host: str
    since: str
    folder: int | None = None  # the experiment's inode; None in the files of earlier versions

    def __post_init__(self) -> None:
        bounded(self, "pid", above=0)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"

    @property
    def alive(self) -> bool:
        """Another machine's process counts as alive: nothing is known of it."""
        if self.host != socket.gethostname():
            return True
        try:
            return bool(psutil.Process(self.pid).create_time() == self.created)
        except (psutil.Error, OverflowError):
            return False


def this_process(directory: Path) -> Driver:
    """This process, as the driver of ``directory``."""
    return Driver(
        pid=os.getpid(),
        created=psutil.Process().create_time(),
        host=socket.gethostname(),
        since=time.strftime("%Y-%m-%d %H:%M:%S"),
        folder=directory.stat().st_ino,
    )


@contextlib.contextmanager
def driving(directory: Path) -> Iterator[None]:
    """Be the only driver of an experiment. Raises :class:`NotNowError` if there is another one.

    The operating system frees the lock of a killed driver at once. If a filesystem has no
    locks, the process that the file names is looked for, on its own machine.
    """
    path = directory / LOCK_FILE
    with readable(path):
        with contextlib.suppress(FileNotFoundError):
            open_file(path).close()  # a folder or a pipe is refused
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free = True
        except BlockingIOError:
            free = False
        except OSError:
            named = _named(path)
            free = named is None or not named.alive
        if not free:
            raise NotNowError(
                f"{directory.name}: {_named(path) or 'another process'} runs this experiment; wait"
                " for it or end it"
            )
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(to_plain(this_process(directory))).encode(), 0)
        os.fsync(handle)
        yield
        os.ftruncate(handle, 0)
    finally:
        os.close(handle)


def driver_of(directory: Path) -> Driver | None:
    """The process that runs an experiment; None if none does. Takes no lock.

    The copy of a folder has no driver, even if the original has one. Raises :class:`ConfigError`
    for a lock file that no driver wrote.
    """
    named, mine = _named(directory / LOCK_FILE), directory.stat().st_ino
    return named if named and named.alive and named.folder in (None, mine) else None


def _named(path: Path) -> Driver | None:
    if not os.path.lexists(path):
        return None
    text = read_text(path, most=4096)
    with about("remove it if nothing runs this experiment"):
        return load(Driver, parse_json(text, str(path)), str(path)) if text else None
