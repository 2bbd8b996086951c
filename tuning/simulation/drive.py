"""The second driver of a search: a clock instead of processes.

`drive` asks the search what is next and reports what trials measure, in the order of a simulated
time. What a trial measures comes from an iterator, as from a process: computed, recorded, or read
from a checkpoint.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from tuning.ledger.ledger import Clock
from tuning.search.decisions import Idle, Start
from tuning.search.search import Search


@dataclass(frozen=True)
class Epoch:
    """What a trial reports at the end of one epoch, and how long it took, in seconds."""

    metrics: Mapping[str, float]  # with "epoch"
    seconds: float = 1.0
    restored: bool = False  # the epoch of the checkpoint that it continues, reported once more


Begin: TypeAlias = Callable[[Start], Iterator[Epoch]]


class SimulatedTime:
    """A clock that stands still until it is moved, in seconds."""

    def __init__(self, at: float = 0.0) -> None:
        self.at = at

    def clock(self) -> Clock:
        """As a ledger reads it."""
        return Clock(lambda: self.at, lambda: self.at)


def drive(
    search: Search,
    begin: Begin,
    *,
    slots: int,
    time: SimulatedTime,
    hours: float | None = None,
    stop_after: int | None = None,
) -> bool:
    """Run ``search`` to its end, ``slots`` trials at a time; whether the hours cut it short.

    Ties in time go to the lower trial number. ``hours``: of simulated time from now on, after which
    nothing starts and running trials save and end; ``stop_after``: the same after so many reports.
    """
    running: list[tuple[float, int, Epoch, Iterator[Epoch]]] = []
    deadline = float("inf") if hours is None else time.at + 3600 * hours
    reports = 0

    def continue_with(trial: int, epochs: Iterator[Epoch]) -> None:
        epoch = next(epochs, None)
        if epoch is None:
            search.process_ended(trial)
        else:
            heapq.heappush(running, (time.at + epoch.seconds, trial, epoch, epochs))

    while True:
        while len(running) < slots and isinstance(start := search.next(), Start):
            search.started(start.trial)
            continue_with(start.trial, begin(start))
        if not running:
            if search.next() is not Idle.OVER:
                raise RuntimeError("the search waits, and nothing runs: it would wait for ever")
            break
        time.at, trial, epoch, epochs = heapq.heappop(running)
        decision = search.report(trial, epoch.metrics, restored=epoch.restored)
        reports += 1
        over = time.at > deadline or (stop_after is not None and reports >= stop_after)
        if over and search.closing is None:
            search.close("hours")
        if decision.ends_process:
            search.process_ended(trial)
        elif search.closing is not None:
            search.suspended(trial)
            search.process_ended(trial)
        else:
            continue_with(trial, epochs)
    search.end()
    return search.closing == "hours"
