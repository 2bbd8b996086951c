"""The head of the Ray cluster, looked at from outside Ray: without it the driver must end.

When the head's GCS dies, calls into Ray block, and after 60 s Ray ends the driver's process from
native code, with its own words and exit code 1. Slurm's `scancel` and a reclaimed head kill the
head together with the driver, which then has seconds to go in order. So a thread asks the GCS's
port, and ends the process by itself: the ledger has every line that was written, and `--resume`
continues from there.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import ray

from tuning.ledger.records import LOCAL

EVERY = 2.0  # seconds between two looks
PATIENCE = 50.0  # seconds without an answer; below the 60 s after which Ray ends the process
PATIENCE_CLOSING = 5.0  # the same, once a signal asked the search to end, or if Ray is our child


@dataclass
class HeadWatch:
    """Calls ``lost`` once, with the seconds of silence, when the head is gone for too long."""

    answers: Callable[[], bool]
    patience: Callable[[], float]
    lost: Callable[[float], None]
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._heard = self.clock()
        self._called = False

    def look(self) -> None:
        """Ask once."""
        if self.answers():
            self._heard = self.clock()
        silent = self.clock() - self._heard
        if silent > self.patience() and not self._called:
            self._called = True
            self.lost(silent)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Look every other second, in a thread of its own."""
        done = threading.Event()

        def watch() -> None:
            while not done.wait(EVERY):
                self.look()

        thread = threading.Thread(target=watch, name="head watch", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join(timeout=2 * EVERY)


def patience(address: str, closing: bool) -> float:
    """Seconds of silence after which the head at ``address`` counts as gone."""
    return PATIENCE_CLOSING if closing or address == LOCAL else PATIENCE


def gcs_answers() -> Callable[[], bool]:
    """Whether the GCS of the cluster that this process is connected to accepts connections."""
    host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")

    def ask() -> bool:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=EVERY).close()
        except OSError:
            return False
        return True

    return ask


def end_process(code: int) -> None:
    """End now, whatever other threads wait for; Ray's own processes end with their parent."""
    os._exit(code)
