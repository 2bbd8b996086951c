"""A search that confirms its finalists: its searcher and scheduler on one ledger, without Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ray.tune.schedulers import TrialScheduler

from tests.tuning.lr_space import lr_space, open_ledger, ray_trial, report
from tests.tuning.searches import make_info
from tuning.ledger.events import Started
from tuning.ledger.ledger import Ledger
from tuning.results.confirm import SEED
from tuning.results.outcome import ExperimentResult, experiment_result
from tuning.search.schedulers import build_scheduler
from tuning.search.search import Proposer, build_searcher
from tuning.spaces.space import SearchSpace

SCORES = {0: 2.0, 1: 1.5, 2: 1.2, 3: 1.4, 4: 1.9}  # of the search, by trial
SHIFT = {7: 0.1, 8: -0.1}  # of a score, by seed
TRUE = {0: 2.0, 2: 1.45, 3: 1.40}  # of the finalists: trial 2 was only lucky


class Search:
    """A searcher and a scheduler on one ledger; trials are played one after the other."""

    def __init__(self, folder: Path, **sections: Any) -> None:
        sections = {"budget": {"trials": 5}, "confirm": {"top": 2, "seeds": [7, 8]}} | sections
        self.space: SearchSpace = lr_space(folder, **sections)
        self.ledger: Ledger = open_ledger(folder)
        self.scheduler = build_scheduler(self.space, self.ledger)
        self.searcher: Proposer = build_searcher(
            self.space, self.ledger, self.scheduler, lambda: False
        )

    def ask(self) -> Any:
        return self.searcher.suggest("ray")

    def play(self, config: dict[str, Any], score: float, most: int = 9) -> str:
        number, action = config["trial"], TrialScheduler.CONTINUE
        self.ledger.append(Started(number))
        for epoch in range(1, most + 1):
            shown = report(epoch, score + (9 - epoch), val_bpp=score / 2)
            action = self.scheduler.on_trial_result(None, ray_trial(number), shown)
            if action != TrialScheduler.CONTINUE:
                break
        return str(action)

    def search(self) -> None:
        for score in SCORES.values():
            self.play(self.ask(), score)

    def run_score(self, config: dict[str, Any]) -> float:
        record = self.ledger.trials[config["trial"]]
        assert record.confirms is not None
        return TRUE[record.confirms] + SHIFT[config[SEED]]

    def result(self, folder: Path, **how: Any) -> ExperimentResult:
        info = make_info(self.space, folder)
        records, runs = self.ledger.records(), self.ledger.confirmations()
        return experiment_result(info, records, runs, **how)


def all_go_on(folder: Path, **sections: Any) -> Search:
    return Search(folder, scheduler={"name": "fifo"}, **sections)
