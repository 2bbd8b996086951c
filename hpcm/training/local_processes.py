"""Several processes on one machine for one run, started by the first of them, which they die with.

``python -m hpcm.training.local_processes PORT RANK COUNT PARENT`` is one of the followers.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import distributed
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from hpcm.losses.diverged import Diverged
from hpcm.ranks import RankLostError
from hpcm.training.processes import Train, follow, leading, meet

HOST = "127.0.0.1"
LOOK_EVERY = 0.5  # seconds, of a process whether the first one is there
GRACE = 30.0  # seconds that the first one has to fail by itself after another one has
LAST_WORDS = 5.0  # seconds that a process takes to end once its connections are gone
LOST = 75  # exit code of one that ends because of another one, or as all do
STARTING = timedelta(minutes=10)  # for all to meet: importing torch from a cold disk takes minutes


@contextmanager
def local_processes(
    train: Train, count: int, dumps: Callable[[Any], bytes] = pickle.dumps
) -> Iterator[Train]:
    """``train``, as rank 0 of ``count`` processes calls it; ``train`` itself if that is one.

    The first call that refuses nothing is what all of them train.
    Each process takes the GPU of its rank, if there are any, and as many CPU threads as this one.
    They end at the latest with the block. ``dumps``: as of `hpcm.training.processes.leading`.
    Inside, whatever waits for a process that broke raises :class:`hpcm.ranks.RankLostError`, which
    says why; if it waits on without an end, as NCCL does, this process is ended after 30 s.
    """
    if count == 1:
        yield train
        return
    store = TCPStore(HOST, 0, is_master=True, wait_for_workers=False, timeout=STARTING)
    followers = Followers(store, count)
    try:
        meet(_device(), 0, store=store, rank=0, world_size=count)
        yield leading(train, dumps)
    except RankLostError as error:
        raise RankLostError(followers.why() or str(error)) from error
    finally:
        followers.end()
    distributed.destroy_process_group()  # not after an error: it may wait for the others


class Followers:
    """The processes of rank 1 on, watched by threads of this one."""

    def __init__(
        self,
        store: TCPStore,
        count: int,
        grace: float = GRACE,
        give_up: Callable[[int], Any] = os._exit,
    ) -> None:
        self._store, self._grace, self._give_up = store, grace, give_up
        self._ending = threading.Event()
        self._started = [_start(rank, count, store.port) for rank in range(1, count)]
        self.watching = [
            threading.Thread(target=self._watch, args=(process,), daemon=True)
            for process in self._started
        ]
        for thread in self.watching:
            thread.start()

    def why(self) -> str:
        """Which process broke, and its error; nothing if all are well."""
        until = time.monotonic() + LAST_WORDS
        while time.monotonic() < until:
            for rank, process in enumerate(self._started, 1):
                if process.poll() not in (None, 0, LOST):
                    return f"process {rank} of this run broke: {self._error(rank, process)}"
            time.sleep(0.05)
        return ""

    def end(self) -> None:
        """End all of them."""
        self._ending.set()
        for process in self._started:
            process.kill()
        for process in self._started:
            process.wait()

    def _error(self, rank: int, process: subprocess.Popen[bytes]) -> str:
        left = _last_words(rank)
        if self._store.check([left]):
            return str(self._store.get(left).decode())
        return f"it ended with exit code {process.returncode}"

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        """Give this process up if it waits on although another one broke."""
        if process.wait() == 0 or self._ending.wait(self._grace):
            return
        print(self.why(), file=sys.stderr, flush=True)
        self._give_up(1)


def _start(rank: int, count: int, port: int) -> subprocess.Popen[bytes]:
    """One of the others; it finds what this process can import."""
    numbers = map(str, (port, rank, count, os.getpid()))
    threads = str(torch.get_num_threads())
    paths = os.pathsep.join(filter(None, sys.path))
    return subprocess.Popen(
        [sys.executable, "-m", "hpcm.training.local_processes", *numbers],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": threads},
        stdin=subprocess.DEVNULL,
    )


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def main(port: int, rank: int, count: int, parent: int) -> None:
    """Be one of the others: follow rank 0 to its end, or leave a message about what broke."""
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    store = TCPStore(HOST, port, is_master=False, timeout=STARTING)
    try:
        meet(_device(), rank, store=store, rank=rank, world_size=count)
        follow()
        distributed.destroy_process_group()
    except (RankLostError, Diverged):  # rank 0 says it
        sys.exit(LOST)
    except Exception as error:
        store.set(_last_words(rank), f"{type(error).__name__}: {error}")
        raise


def _last_words(rank: int) -> str:
    """The key under which a process leaves its error."""
    return f"error of {rank}"


def _end_with(parent: int) -> None:
    """End this process, whatever it does, once its parent is gone."""
    while os.getppid() == parent:
        time.sleep(LOOK_EVERY)
    os._exit(1)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
