"""Finalists on fresh seeds: who they are, how they are run, and what is said of them."""

from __future__ import annotations

from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from hpcm import ConfigError
from tests.tuning.lr_space import METRIC, kill, lr_space, open_ledger, ray_trial, report
from tests.tuning.searches import make_info
from tuning.confirm import SEED, finalists, most_runs
from tuning.ledger import Ledger
from tuning.outcome import ExperimentResult, experiment_result
from tuning.schedulers.build import build_scheduler
from tuning.searchers.proposer import Proposer, build_searcher
from tuning.spaces.space import SearchSpace
from tuning.terminal.confirm_text import confirm_lines, confirmed_text
from tuning.terminal.summary import summary_lines
from tuning.trainable import _config

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
        self.ledger.append("started", number)
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
        assert record.of is not None
        return TRUE[record.of] + SHIFT[config[SEED]]

    def result(self, folder: Path, **how: Any) -> ExperimentResult:
        info = make_info(self.space, folder)
        records, runs = self.ledger.records(), self.ledger.confirmations()
        return experiment_result(info, records, runs, **how)


def all_go_on(folder: Path, **sections: Any) -> Search:
    return Search(folder, scheduler={"name": "fifo"}, **sections)


def test_a_confirmation_from_start_to_end(tmp_path: Path) -> None:
    run = all_go_on(tmp_path)
    run.search()
    assert not run.result(tmp_path).complete  # nobody is confirmed yet
    asked = []
    while (config := run.ask()) != Searcher.FINISHED:
        asked.append(config)
        run.play(config, run.run_score(config))
    runs = run.ledger.confirmations()
    assert [(r.number, r.of, r.seed) for r in runs] == [
        (5, 0, 7),
        (6, 2, 7),
        (7, 3, 7),
        (8, 0, 8),
        (9, 2, 8),
        (10, 3, 8),
    ]
    assert all(r.source == "confirm" and r.state == "finished" for r in runs)
    assert asked[1] == {"trial": 6, SEED: 7, **run.ledger.trials[2].params}
    assert len(run.ledger.records()) == 5
    result = run.result(tmp_path)
    assert (result.complete, result.confirmation is not None) == (True, True)
    assert result.best is run.ledger.trials[3]  # not the luckiest, trial 2
    assert len(result.trials) == 5
    run.ledger.close()
    reread = Ledger(run.ledger.path.parent)
    assert (reread.records(), reread.confirmations()) == (run.ledger.records(), runs)


def test_what_is_said_of_the_finalists(tmp_path: Path) -> None:
    run = all_go_on(tmp_path)
    run.search()
    while (config := run.ask()) != Searcher.FINISHED:
        run.play(config, run.run_score(config))
    found = run.result(tmp_path).confirmation
    assert found is not None
    prior, second, third = found.finalists
    spread = second.spread(METRIC)
    assert spread is not None
    assert spread.mean == pytest.approx(mean([1.55, 1.35]))
    assert spread.deviation == pytest.approx(stdev([1.55, 1.35]))
    against = third.difference(prior, METRIC)
    assert against is not None
    assert against.values == pytest.approx((-0.6, -0.6))
    assert against.deviation == pytest.approx(0, abs=1e-12)  # the seeds' share is gone
    assert confirm_lines(found) == [
        "confirmed on seeds 7, 8: rd_cost at epoch 9",
        "         n  mean    sd      to the prior, by seed: mean  sd",
        "prior    2  2.0000  0.1414  -                            -",
        "trial 2  2  1.4500  0.1414  -0.5500 (-27.50 %)           0.0000",
        "trial 3  2  1.4000  0.1414  -0.6000 (-30.00 %)           0.0000",
        "best by mean: trial 3",
    ]
    assert confirmed_text(found, third) == (
        "rd_cost 1.4000, sd 0.1414, over 2 fresh seeds; to the prior -0.6000 (-30.00 %), sd 0.0000"
    )
    assert "best by mean: trial 3" in summary_lines(run.result(tmp_path), None)
    run.ledger.close()


@pytest.mark.parametrize("scheduler", ["asha", "promote"])
def test_no_rung_stops_a_run_and_no_rung_counts_it(tmp_path: Path, scheduler: str) -> None:
    """The worst score there is: a rung would end it, or make it wait."""
    run = Search(
        tmp_path,
        scheduler={"name": scheduler, "reduction_factor": 3},
        fidelity={"min": 3},
        budget={"trials": 12},
    )
    while SEED not in (config := run.ask()):
        run.play(config, 1.0 + 1 / (1 + config["trial"]))
    decided = [e for e in run.ledger.path.read_text().splitlines() if '"decision"' in e]
    while config != Searcher.FINISHED:
        assert run.play(config, 50.0) == TrialScheduler.STOP  # at the end
        assert run.ledger.trials[config["trial"]].state == "finished"
        config = run.ask()
    assert decided == [e for e in run.ledger.path.read_text().splitlines() if '"decision"' in e]
    assert run.ledger.confirmations()
    run.ledger.close()


def test_a_killed_confirmation_continues_and_runs_nothing_twice(tmp_path: Path) -> None:
    run = all_go_on(tmp_path)
    run.search()
    for _ in range(2):
        config = run.ask()
        run.play(config, run.run_score(config))
    cut = run.ask()
    run.play(cut, run.run_score(cut), most=4)
    kill(run.ledger)
    again = all_go_on(tmp_path)
    assert again.ask() == cut
    again.play(cut, again.run_score(cut))
    while (config := again.ask()) != Searcher.FINISHED:
        again.play(config, again.run_score(config))
    assert [(r.of, r.seed) for r in again.ledger.confirmations()] == [
        (of, seed) for seed in (7, 8) for of in (0, 2, 3)
    ]
    assert again.result(tmp_path).best is again.ledger.trials[3]
    again.ledger.close()


def test_more_trials_search_first_and_finalists_that_stay_are_not_run_again(
    tmp_path: Path,
) -> None:
    run = all_go_on(tmp_path)
    run.search()
    while (config := run.ask()) != Searcher.FINISHED:
        run.play(config, run.run_score(config))
    kill(run.ledger)
    more = all_go_on(tmp_path, budget={"trials": 6})
    config = more.ask()
    assert (config["trial"], SEED in config) == (11, False)
    more.play(config, 1.3)  # better than trial 3: takes its place among the finalists
    asked = []
    while (config := more.ask()) != Searcher.FINISHED:
        asked.append((more.ledger.trials[config["trial"]].of, config[SEED]))
        more.play(config, 1.0)
    assert asked == [(11, 7), (11, 8)]
    result = more.result(tmp_path)
    assert [f.trial.number for f in result.confirmation.finalists] == [0, 2, 11]  # type: ignore[union-attr]
    assert result.best is more.ledger.trials[11]
    more.ledger.close()


def test_a_finalist_that_fails_on_a_seed_is_not_the_best(tmp_path: Path) -> None:
    run = all_go_on(tmp_path)
    run.search()
    while (config := run.ask()) != Searcher.FINISHED:
        if (run.ledger.trials[config["trial"]].of, config[SEED]) == (3, 8):
            run.ledger.append("failed", config["trial"], reason="diverged: inf", diverged=True)
        else:
            run.play(config, run.run_score(config))
    result = run.result(tmp_path)
    assert (result.complete, result.best) == (True, run.ledger.trials[2])
    told = confirm_lines(result.confirmation)  # type: ignore[arg-type]
    assert told[4].endswith("1 run failed")
    run.ledger.close()


def test_runs_that_are_not_wanted_any_more_are_not_trained(tmp_path: Path) -> None:
    """Cut by a kill; then the search goes on with more trials and other seeds."""
    run = all_go_on(tmp_path)
    run.search()
    run.play(run.ask(), 2.0)
    cut = run.ask()
    run.play(cut, 1.3, most=4)
    kill(run.ledger)
    none = all_go_on(tmp_path, confirm={"top": 0})
    assert none.ask() == Searcher.FINISHED
    assert none.result(tmp_path).complete
    kill(none.ledger)
    more = all_go_on(tmp_path, budget={"trials": 6}, confirm={"top": 1, "seeds": [9]})
    order = []
    while (config := more.ask()) != Searcher.FINISHED:
        record = more.ledger.trials[config["trial"]]
        order.append((record.of, record.seed))
        more.play(config, 1.9)
    assert order == [(None, None), (0, 9), (2, 9)]
    assert more.result(tmp_path).complete
    more.ledger.close()


def test_runs_that_failed_are_tried_once_more_by_a_resume(tmp_path: Path) -> None:
    """A lost data folder at the end of a search is no reason to export the luckiest trial."""
    run = all_go_on(tmp_path)
    run.search()
    while (config := run.ask()) != Searcher.FINISHED:
        diverged = config[SEED] == 8 and run.ledger.trials[config["trial"]].of == 2
        reason = "diverged: inf" if diverged else "crashed: no such folder"
        run.ledger.append("failed", config["trial"], reason=reason, diverged=diverged)
    result = run.result(tmp_path)
    assert result.complete
    told = "\n".join(summary_lines(result, None))
    assert "trial 5, which is trial 0 on seed 7, failed: crashed: no such folder" in told
    assert "none is confirmed: 6 runs failed; a --resume tries them once more" in told
    kill(run.ledger)
    again = all_go_on(tmp_path)
    asked = []
    while (config := again.ask()) != Searcher.FINISHED:
        asked.append(config["trial"])
        if config["trial"] == 5:
            again.ledger.append("failed", 5, reason="crashed again")
        else:
            again.play(config, again.run_score(config))
    assert asked == [5, 6, 7, 8, 10]  # once each, and not the one that diverged
    assert again.result(tmp_path).best is again.ledger.trials[3]
    kill(again.ledger)
    third = all_go_on(tmp_path)
    assert third.ask() == Searcher.FINISHED
    third.ledger.close()


def test_constraints_hold_for_finalists_and_for_their_means(tmp_path: Path) -> None:
    bounds = {"constraints": {"val_bpp": {"max": 0.72, "min": 0.65}}}
    run = all_go_on(tmp_path, objective=bounds)
    run.search()
    records = run.ledger.records()
    assert [t.number for t in finalists(records, run.space)] == [3]  # 0.7; trial 2 has 0.6
    while (config := run.ask()) != Searcher.FINISHED:
        run.play(config, 1.6)  # 0.8 bpp on every seed
    result = run.result(tmp_path)
    assert result.confirmation is not None
    assert result.confirmation.best is None
    assert any("none is confirmed" in line for line in summary_lines(result, None))
    run.ledger.close()


def test_the_run_trains_the_finalists_config_on_its_seed(tmp_path: Path) -> None:
    space = lr_space(tmp_path)
    flat = {"trial": 9, "optimizer.lr": 1.0e-3}
    plain, again = _config(flat, space), _config(flat | {SEED: 7}, space)
    assert (plain.seed, again.seed) == (0, 7)
    assert again.optimizer.lr == plain.optimizer.lr == 1.0e-3


def test_nothing_is_run_again_unless_asked_for(tmp_path: Path) -> None:
    run = all_go_on(tmp_path, confirm={"top": 0})
    run.search()
    assert run.ask() == Searcher.FINISHED
    assert most_runs(run.space) == 0
    result = run.result(tmp_path)
    assert (result.complete, result.confirmation) == (True, None)
    assert result.best is run.ledger.trials[2]
    run.ledger.close()


def test_a_run_that_the_hours_cut_leaves_it_unconfirmed(tmp_path: Path) -> None:
    """Else the finalist whose run was cut would be passed over for a worse one."""
    run = all_go_on(tmp_path)
    run.search()
    while (config := run.ask()) != Searcher.FINISHED:
        run.play(config, run.run_score(config))
    last = run.ledger.confirmations()[-1].number
    run.ledger.append("reopened", last)
    run.ledger.append("stopped", last, reason="the hours are spent")
    result = run.result(tmp_path, budget_spent=True)
    assert result.confirmation is not None
    assert (result.confirmation.left, result.confirmation.best) == (1, None)
    assert result.best is run.ledger.trials[2]  # by the search alone
    run.ledger.close()


def test_a_search_that_is_over_can_be_confirmed_later(tmp_path: Path) -> None:
    run = all_go_on(tmp_path, confirm={"top": 0})
    run.search()
    assert run.ask() == Searcher.FINISHED
    run.ledger.close(complete=True, interrupted=False, error=None)
    again = all_go_on(tmp_path)
    assert again.space.diff(run.space)
    assert not any(change.breaks for change in run.space.diff(again.space))
    while (config := again.ask()) != Searcher.FINISHED:
        again.play(config, again.run_score(config))
    assert len(again.ledger.confirmations()) == 6
    assert again.result(tmp_path).best is again.ledger.trials[3]
    again.ledger.close()


def test_a_finalist_that_misses_a_constraint_is_not_said_to_be_missing(tmp_path: Path) -> None:
    bounds = {"constraints": {"val_bpp": {"max": 0.1}}}
    run = all_go_on(tmp_path, objective=bounds)
    run.search()
    told = summary_lines(run.result(tmp_path), None)
    assert any(
        line.startswith("nothing to confirm: no trial but the prior came to epoch 9 and keeps ")
        for line in told
    )
    run.ledger.close()


def test_without_a_finalist_there_is_nothing_to_confirm(tmp_path: Path) -> None:
    run = all_go_on(tmp_path, budget={"trials": 1}, confirm={"top": 2, "seeds": [7]})
    run.play(run.ask(), 1.0)
    assert run.ask() == Searcher.FINISHED
    result = run.result(tmp_path)
    assert result.complete
    told = summary_lines(result, None)
    assert "nothing to confirm: no trial but the prior came to epoch 9" in told
    run.ledger.close()


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"confirm": {"top": 2, "seeds": [0, 1]}}, r"confirm.seeds: \[0, 1\]; 0 is the search's"),
        ({"confirm": {"top": 2, "seeds": [1, 1]}}, r"confirm.seeds: \[1, 1\]; must be different"),
        ({"confirm": {"top": 2, "seeds": []}}, r"confirm.seeds: \[\]; must be different"),
        ({"confirm": {"top": -1}}, r"confirm.top: -1; must be 0 or more"),
        (
            {"confirm": {"top": 2}, "scheduler": {"name": "pb2"}},
            "with pb2 a trial's values change while it trains",
        ),
    ],
)
def test_what_cannot_be_confirmed_is_refused(
    tmp_path: Path, sections: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        lr_space(tmp_path, **sections)
