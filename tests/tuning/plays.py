"""Searches without Ray: scheduler, searcher, ledger and checkpoints as they are, trials as loops.

The driver dies before any line of its ledger that a test names, as by SIGKILL: what was in memory
is gone, files are as they were. Trials train as in :mod:`tests.tuning.hot_training`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from tests.tuning.hot_training import FIRST, learnt, restored, saver
from tests.tuning.lr_space import METRIC, kill
from tuning.checkpoints.store import CheckpointStore
from tuning.ledger.events import Reopened, Started, Stopped
from tuning.ledger.ledger import Ledger, read_events
from tuning.ledger.records import TrialRecord
from tuning.on_ray.trainable import unchanged
from tuning.search.schedulers import build_scheduler
from tuning.search.search import build_searcher
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
        ledger = Ledger(self.directory)
        with ExitStack() as stack:
            stack.enter_context(patch("os.fsync", lambda handle: None))
            stack.enter_context(patch.object(Ledger, "append", dying(Ledger.append, die_before)))
            try:
                self._search(ledger, close_after)
                ledger.close()
            except Killed:
                kill(ledger)
                return False
        return True

    def events(self) -> list[dict[str, Any]]:
        """The ledger."""
        return list(read_events(self.directory))

    def trials(self) -> list[TrialRecord]:
        """As the ledger has them."""
        return Ledger(self.directory).records()

    def store(self, number: int) -> CheckpointStore:
        """The checkpoints of a trial."""
        return CheckpointStore(self.directory, f"rates-{number:04d}")

    def _search(self, ledger: Ledger, close_after: int | None) -> None:
        ledger.open()
        for record in ledger.records():  # as tuning.on_ray.experiment does
            if record.state == "stopped" and record.rung_stopped_at is None:
                ledger.append(Reopened(record.number))
        scheduler = build_scheduler(self.space, ledger, self.store)
        told = 0
        searcher = build_searcher(
            self.space, ledger, scheduler, lambda: close_after is not None and told >= close_after
        )
        running: dict[str, tuple[int, Iterator[dict[str, Any]]]] = {}
        asked = 0
        while True:
            while len(running) < (self.space.budget.concurrent or 1):
                asked += 1
                config = searcher.suggest(f"ray{asked}")
                if not isinstance(config, dict):
                    break
                ledger.append(Started(config["trial"]))
                running[f"ray{asked}"] = config["trial"], self._reports(config)
            if not running:
                assert config == "FINISHED", "the search hangs"
                break
            for ray_id, (number, reports) in list(running.items()):
                trial: Any = SimpleNamespace(config={"trial": number}, trial_id=ray_id)
                said = scheduler.on_trial_result(None, trial, next(reports))
                told += 1
                if said == "CONTINUE" and close_after is not None and told >= close_after:
                    said = scheduler.on_trial_result(None, trial, {"suspended": True})
                if said == "STOP":
                    searcher.on_trial_complete(ray_id, {})
                    del running[ray_id]
        scheduler.give_up()
        if close_after is not None:
            for record in ledger.records():
                if not record.ended:
                    ledger.append(Stopped(record.number, reason="the hours are spent"))

    def _reports(self, config: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """What a trial's process says; it dies with the driver. It saves where trials compare."""
        number, rate = config["trial"], config["optimizer.lr"]
        store, epoch, loss = self.store(number), 0, FIRST
        metrics: dict[str, float] = {}
        for directory, saved in store.newest_first():
            epoch, loss = restored(directory)
            metrics = saved
            yield {**metrics, "restored": True}
            break
        last = self.early.get(number, self.space.fidelity.max)
        while epoch < last:
            epoch, loss = epoch + 1, learnt(loss, rate)
            self.trained.append((number, epoch))
            value = math.nan if number in self.nan and epoch >= 2 else loss
            metrics = {"epoch": float(epoch), METRIC: value, "rate": rate}
            if epoch in self.space.rungs() or epoch == last:
                store.save(epoch, metrics, saver(epoch, loss))
            yield metrics
        yield from unchanged(metrics, self.space.rungs())
        raise AssertionError(f"trial {number} reported its last epoch and was not stopped")


def dying(append: Any, line: int | None) -> Any:
    """``append``, until the given line of a session."""
    lines = 0

    def counted(ledger: Ledger, *given: Any, **fields: Any) -> None:
        nonlocal lines
        lines += 1
        if lines == line:
            raise Killed
        append(ledger, *given, **fields)

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
