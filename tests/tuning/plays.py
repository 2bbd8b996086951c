"""Searches without Ray: search, ledger and checkpoints as they are, trials as iterators.

The driver dies before any line of its ledger that a test names, as by SIGKILL: what was in memory
is gone, files are as they were. Trials train as in :mod:`tests.tuning.hot_training`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests.tuning.hot_training import FIRST, learnt, restored, saver
from tests.tuning.ledger_lines import read_lines
from tests.tuning.lr_space import METRIC, kill
from tuning.checkpoints.store import CheckpointStore
from tuning.ledger.events import Event, Opened
from tuning.ledger.ledger import Ledger
from tuning.ledger.records import TrialRecord
from tuning.on_ray.trainable import unchanged
from tuning.search.decisions import Start
from tuning.search.search import Search
from tuning.search.sessions import open_session
from tuning.simulation.drive import Epoch, SimulatedTime, drive
from tuning.spaces.space import SearchSpace


class Killed(BaseException):
    """The driver died."""


class Searched:
    """One experiment in ``folder``; :meth:`session` runs its driver until it ends or dies."""

    def __init__(self, folder: Path, space: SearchSpace) -> None:
        self.space = space
        folder.mkdir(exist_ok=True)
        self.directory = folder / "rates-x"
        self.directory.mkdir(exist_ok=True)
        self.trained: list[tuple[int, int]] = []  # trial and epoch, in order
        self.nan: set[int] = set()  # trials whose score is NaN from epoch 2 on
        self.early: dict[int, int] = {}  # trials that stop early, after this epoch

    def session(self, die_before: int | None = None, close_after: int | None = None) -> bool:
        """Go on, up to this line of this session; whether the search came to its end.

        ``close_after``: reports after which nothing more starts, as at the end of the hours.
        """
        time = SimulatedTime()
        ledger = Ledger(self.directory, clock=time.clock(), durable=False)
        with ExitStack() as stack:
            stack.enter_context(patch.object(Ledger, "append", dying(Ledger.append, die_before)))
            try:
                self._search(ledger, time, close_after)
                ledger.close()
            except Killed:
                kill(ledger)
                return False
        return True

    def events(self) -> list[dict[str, Any]]:
        """The ledger."""
        return read_lines(self.directory)

    def trials(self) -> list[TrialRecord]:
        """As the ledger has them."""
        return Ledger(self.directory).records()

    def store(self, number: int) -> CheckpointStore:
        """The checkpoints of a trial."""
        return CheckpointStore(self.directory, f"rates-{number:04d}")

    def _search(self, ledger: Ledger, time: SimulatedTime, close_after: int | None) -> None:
        open_session(ledger, Opened())
        search = Search(self.space, ledger, self._copy)
        slots = self.space.budget.concurrent or 1
        if drive(search, self._begin, slots=slots, time=time, stop_after=close_after):
            search.stop_what_is_left()

    def _copy(self, trial: int, donor: int, epoch: int) -> None:
        self.store(trial).adopt(self.store(donor), epoch)

    def _begin(self, start: Start) -> Iterator[Epoch]:
        """What a trial's process says; it dies with the driver. It saves where trials compare."""
        number, rate = start.trial, start.params["optimizer.lr"]
        store, epoch, loss = self.store(number), 0, FIRST
        metrics: dict[str, float] = {}
        for saved in store.newest_first():
            epoch, loss = restored(saved.folder)
            metrics = saved.metrics
            yield Epoch(metrics, restored=True)
            break
        last = self.early.get(number, self.space.fidelity.max)
        while epoch < last:
            epoch, loss = epoch + 1, learnt(loss, rate)
            self.trained.append((number, epoch))
            value = math.nan if number in self.nan and epoch >= 2 else loss
            metrics = {"epoch": float(epoch), METRIC: value, "rate": rate}
            if epoch in self.space.rungs() or epoch == last:
                store.save(epoch, metrics, saver(epoch, loss))
            yield Epoch(metrics)
        for same in unchanged(metrics, self.space.rungs()):
            yield Epoch(same)
        raise AssertionError(f"trial {number} reported its last epoch and was not stopped")


def dying(append: Any, line: int | None) -> Any:
    """``append``, until the given line of a session."""
    lines = 0

    def counted(ledger: Ledger, event: Event, **how: Any) -> None:
        nonlocal lines
        lines += 1
        if lines == line:
            raise Killed
        append(ledger, event, **how)

    return counted


def fates(trials: Sequence[TrialRecord]) -> list[tuple[Any, ...]]:
    """How every trial ended and what it went through, without when."""
    return [
        (
            t.number,
            t.state,
            t.rung_stopped_at,
            t.reason,
            sorted(t.params.items()),
            [(e.epoch, e.donor, sorted(e.params.items())) for e in t.exploits],
            t.curve(METRIC),
            t.curve("rate"),
        )
        for t in trials
    ]


def decisions(trials: Sequence[TrialRecord]) -> list[tuple[Any, ...]]:
    """What was proposed and what became of it."""
    return [
        (t.number, t.source, t.params, t.state, t.rung_stopped_at, t.reason, t.epochs)
        for t in trials
    ]
