"""Finalists on fresh seeds where a search was cut, went on with more, or had runs that failed."""

from __future__ import annotations

from pathlib import Path

from ray.tune.search import Searcher

from tests.tuning.confirm_search import all_go_on
from tests.tuning.lr_space import kill
from tuning.ledger.events import Failed, Reopened, Stopped
from tuning.results.confirm import SEED
from tuning.watching.summary import summary_lines


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
    assert [(r.confirms, r.seed) for r in again.ledger.confirmations()] == [
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


def test_a_run_whose_process_ends_without_a_word_is_started_again(tmp_path: Path) -> None:
    """Also the last one: Ray asks nobody any more once the searcher is finished."""
    run = all_go_on(tmp_path, confirm={"top": 1, "seeds": [7]})
    run.search()
    run.play(run.ask(), 2.0)
    last = run.searcher.suggest("ray9")
    assert run.ask() is None
    run.searcher.on_trial_complete("ray9")
    assert run.ask() == last
    run.play(last, run.run_score(last))
    assert run.ask() == Searcher.FINISHED
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
        order.append((record.confirms, record.seed))
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
        run.ledger.append(Failed(config["trial"], reason=reason, diverged=diverged))
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
            again.ledger.append(Failed(5, reason="crashed again"))
        else:
            again.play(config, again.run_score(config))
    assert asked == [5, 6, 7, 8, 10]  # once each, and not the one that diverged
    assert again.result(tmp_path).best is again.ledger.trials[3]
    kill(again.ledger)
    third = all_go_on(tmp_path)
    assert third.ask() == Searcher.FINISHED
    third.ledger.close()


def test_a_run_that_the_hours_cut_leaves_it_unconfirmed(tmp_path: Path) -> None:
    """Else the finalist whose run was cut would be passed over for a worse one."""
    run = all_go_on(tmp_path)
    run.search()
    while (config := run.ask()) != Searcher.FINISHED:
        run.play(config, run.run_score(config))
    last = run.ledger.confirmations()[-1].number
    run.ledger.append(Reopened(last))
    run.ledger.append(Stopped(last, reason="the hours are spent"))
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
