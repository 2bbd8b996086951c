"""A search that confirms its finalists, told by hand what its trials measure; no Ray."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.tuning.lr_space import lr_space, open_ledger, report
from tests.tuning.searches import make_info
from tuning.ledger.ledger import Ledger
from tuning.results.outcome import ExperimentResult, experiment_result
from tuning.search.decisions import Decision, Idle, Start
from tuning.search.search import Search
from tuning.spaces.space import SearchSpace

SCORES = {0: 2.0, 1: 1.5, 2: 1.2, 3: 1.4, 4: 1.9}  # of the search, by trial
SHIFT = {7: 0.1, 8: -0.1}  # of a score, by seed
TRUE = {0: 2.0, 2: 1.45, 3: 1.40}  # of the finalists: trial 2 was only lucky


class Confirming:
    """A search on a ledger; trials are played one after the other."""

    def __init__(self, folder: Path, **sections: Any) -> None:
        sections = {"budget": {"trials": 5}, "confirm": {"top": 2, "seeds": [7, 8]}} | sections
        self.space: SearchSpace = lr_space(folder, **sections)
        self.ledger: Ledger = open_ledger(folder)
        self.search = Search(self.space, self.ledger)

    def next(self) -> Start:
        found = self.search.next()
        assert isinstance(found, Start)
        return found

    def starts(self) -> Iterator[Start]:
        """Whatever the search starts, to its end."""
        while isinstance(found := self.search.next(), Start):
            yield found
        assert found is Idle.OVER

    def play(self, start: Start, score: float, most: int = 9) -> Decision:
        self.search.started(start.trial)
        for epoch in range(1, most + 1):
            metrics = report(epoch, score + (9 - epoch), val_bpp=score / 2)
            decision = self.search.report(start.trial, metrics)
            if decision.ends_process:
                self.search.process_ended(start.trial)
                break
        return decision

    def play_trials(self) -> None:
        """The search itself, without what confirms."""
        for score in SCORES.values():
            self.play(self.next(), score)

    def confirm(self) -> None:
        """What is left of it."""
        for start in self.starts():
            self.play(start, self.run_score(start))

    def run_score(self, start: Start) -> float:
        confirms = self.ledger.trials[start.trial].confirms
        assert confirms is not None
        assert start.seed is not None
        return TRUE[confirms] + SHIFT[start.seed]

    def result(self, folder: Path, **how: Any) -> ExperimentResult:
        info = make_info(self.space, folder)
        return experiment_result(info, self.ledger, **how)


def all_go_on(folder: Path, **sections: Any) -> Confirming:
    return Confirming(folder, scheduler={"name": "fifo"}, **sections)
