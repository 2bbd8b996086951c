"""A search without Ray: scheduler, searcher and ledger as they are, trials as generators.

Its driver dies at any line of the ledger that a drill names, as by SIGKILL: what was in memory is
gone, files are as they were. A thousand such deaths take seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.drills.fake_training import score
from tests.drills.search import space_of
from tests.tuning.lr_space import kill
from tests.tuning.small_spaces import write
from tuning import load_space
from tuning.ledger import Ledger, read_events
from tuning.records import TrialRecord
from tuning.schedulers.build import build_scheduler
from tuning.searchers.proposer import build_searcher
from tuning.spaces.space import SearchSpace


class Killed(BaseException):
    """The driver died."""


class Play:
    """One experiment in ``folder``; :meth:`session` runs its driver until it ends or dies."""

    def __init__(self, folder: Path, content: dict[str, Any], patches: pytest.MonkeyPatch) -> None:
        def replace(data: dict[str, Any]) -> None:
            data.clear()
            data.update(content)

        self.space: SearchSpace = load_space(write(folder, replace, "rates", ""))
        self.directory = folder / "rates-x"
        self.directory.mkdir()
        self.saved: dict[int, int] = {}  # trial to the epoch of its newest checkpoint
        self.trained: list[tuple[int, int]] = []
        self._patches = patches

    def session(self, die_before: int | None = None) -> bool:
        """Go on, up to this line of this session; whether the search came to its end."""
        with self._patches.context() as patch:
            patch.setattr("os.fsync", lambda handle: None)  # a killed process needs none
            self._die_at(die_before, patch)
            try:
                self._run()
            except Killed:
                return False
        return True

    def events(self) -> list[dict[str, Any]]:
        """The ledger."""
        return list(read_events(self.directory))

    def trials(self) -> list[TrialRecord]:
        """As the ledger has them."""
        return Ledger(self.directory).records()

    def _run(self) -> None:
        ledger = Ledger(self.directory)
        try:
            self._search(ledger)
            ledger.close()
        except Killed:
            kill(ledger)
            raise

    def _search(self, ledger: Ledger) -> None:
        ledger.open()
        scheduler = build_scheduler(self.space, ledger)
        searcher = build_searcher(self.space, ledger, scheduler, lambda: False)
        running: dict[str, tuple[int, Iterator[dict[str, Any]]]] = {}
        asked = 0
        while True:
            while len(running) < (self.space.budget.concurrent or 1):
                asked += 1
                config = searcher.suggest(f"ray{asked}")
                if not isinstance(config, dict):
                    break
                number = config["trial"]
                ledger.append("started", number)
                running[f"ray{asked}"] = number, self._reports(number, config["optimizer.lr"])
            if not running:
                break
            for ray_id, (number, reports) in list(running.items()):
                trial: Any = SimpleNamespace(config={"trial": number}, trial_id=ray_id)
                if scheduler.on_trial_result(None, trial, next(reports)) == "STOP":
                    searcher.on_trial_complete(ray_id, {})
                    del running[ray_id]
        assert config == "FINISHED"
        scheduler.give_up()

    def _reports(self, number: int, rate: float) -> Iterator[dict[str, Any]]:
        """What a trial's process says, which dies with the driver; it saves at the rungs."""
        first = self.saved.get(number, 0)
        if first:
            yield {"epoch": float(first), "val_rd_cost": score(rate, first), "restored": True}
        for epoch in range(first + 1, self.space.fidelity.max + 1):
            self.trained.append((number, epoch))
            if epoch in self.space.rungs():
                self.saved[number] = epoch
            yield {"epoch": float(epoch), "val_rd_cost": score(rate, epoch)}

    def _die_at(self, line: int | None, patch: pytest.MonkeyPatch) -> None:
        append, lines = Ledger.append, 0

        def counted(ledger: Ledger, *given: Any, **fields: Any) -> None:
            nonlocal lines
            lines += 1
            if lines == line:
                raise Killed
            append(ledger, *given, **fields)

        patch.setattr(Ledger, "append", counted)


def play_content(name: str, trials: int, **sections: Any) -> dict[str, Any]:
    """A space for a play: ``name`` of its scheduler, rates drawn at random."""
    content = space_of(None, scheduler={"name": name, **sections})
    content["searcher"] = {"name": "random", "seed": 1}
    content["budget"] = {"trials": trials, "concurrent": 1}
    return content
