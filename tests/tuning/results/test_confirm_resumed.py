"""Finalists on fresh seeds where a search was cut, went on with more, or had runs that failed."""

from __future__ import annotations

from pathlib import Path

from tests.tuning.confirm_search import all_go_on
from tests.tuning.lr_space import kill
from tuning.ledger.events import Closed, Reopened, Stopped
from tuning.search.decisions import Idle
from tuning.watching.summary import summary_lines


def test_a_killed_confirmation_continues_and_runs_nothing_twice(tmp_path: Path) -> None:
    run = all_go_on(tmp_path)
    run.play_trials()
    for _ in range(2):
        start = run.next()
        run.play(start, run.run_score(start))
    cut = run.next()
    run.play(cut, run.run_score(cut), most=4)
    kill(run.ledger)
    again = all_go_on(tmp_path)
    assert again.next() == cut
    again.play(cut, again.run_score(cut))
    again.confirm()
    assert [(r.confirms, r.seed) for r in again.ledger.confirmations()] == [
        (of, seed) for seed in (7, 8) for of in (0, 2, 3)
    ]
    assert again.result(tmp_path).best is again.ledger.trials[3]
    again.ledger.close()


def test_more_trials_search_first_and_finalists_that_stay_are_not_run_again(
    tmp_path: Path,
) -> None:
    run = all_go_on(tmp_path)
    run.play_trials()
    run.confirm()
    kill(run.ledger)
    more = all_go_on(tmp_path, budget={"trials": 6})
    start = more.next()
    assert (start.trial, start.seed) == (11, None)
    more.play(start, 1.3)  # better than trial 3: takes its place among the finalists
    asked = []
    for start in more.starts():
        asked.append((more.ledger.trials[start.trial].confirms, start.seed))
        more.play(start, 1.0)
    assert asked == [(11, 7), (11, 8)]
    result = more.result(tmp_path)
    assert [f.trial.number for f in result.confirmation.finalists] == [0, 2, 11]  # type: ignore[union-attr]
    assert result.best is more.ledger.trials[11]
    more.ledger.close()


def test_a_run_whose_process_ends_without_a_word_is_started_again(tmp_path: Path) -> None:
    """Also the last one: once the search is over, nobody asks it any more."""
    run = all_go_on(tmp_path, confirm={"top": 1, "seeds": [7]})
    run.play_trials()
    run.play(run.next(), 2.0)
    last = run.next()
    assert run.search.next() is Idle.NOT_NOW
    run.search.process_ended(last.trial)
    assert run.next() == last
    run.play(last, run.run_score(last))
    assert run.search.next() is Idle.OVER
    run.ledger.close()


def test_runs_that_are_not_wanted_any_more_are_not_trained(tmp_path: Path) -> None:
    """Cut by a kill; then the search goes on with more trials and other seeds."""
    run = all_go_on(tmp_path)
    run.play_trials()
    run.play(run.next(), 2.0)
    cut = run.next()
    run.play(cut, 1.3, most=4)
    kill(run.ledger)
    none = all_go_on(tmp_path, confirm={"top": 0})
    assert none.search.next() is Idle.OVER
    assert none.result(tmp_path).complete
    kill(none.ledger)
    more = all_go_on(tmp_path, budget={"trials": 6}, confirm={"top": 1, "seeds": [9]})
    order = []
    for start in more.starts():
        record = more.ledger.trials[start.trial]
        order.append((record.confirms, record.seed))
        more.play(start, 1.9)
    assert order == [(None, None), (0, 9), (2, 9)]
    assert more.result(tmp_path).complete
    more.ledger.close()


def test_runs_that_failed_are_tried_once_more_by_a_resume(tmp_path: Path) -> None:
    """A lost data folder at the end of a search is no reason to export the luckiest trial."""
    run = all_go_on(tmp_path)
    run.play_trials()
    for start in run.starts():
        diverged = start.seed == 8 and run.ledger.trials[start.trial].confirms == 2
        reason = "diverged: inf" if diverged else "crashed: no such folder"
        run.search.gave_up(start.trial, reason, diverged)
    result = run.result(tmp_path)
    assert result.complete
    lines = "\n".join(summary_lines(result, None))
    assert "trial 5, which is trial 0 on seed 7, failed: crashed: no such folder" in lines
    assert "none is confirmed: 6 runs failed; a --resume tries them once more" in lines
    kill(run.ledger)
    again = all_go_on(tmp_path)
    asked = []
    for start in again.starts():
        asked.append(start.trial)
        if start.trial == 5:
            again.search.gave_up(5, "crashed again")
        else:
            again.play(start, again.run_score(start))
    assert asked == [5, 6, 7, 8, 10]  # once each, and not the one that diverged
    assert again.result(tmp_path).best is again.ledger.trials[3]
    kill(again.ledger)
    third = all_go_on(tmp_path)
    assert third.search.next() is Idle.OVER
    third.ledger.close()


def test_a_run_that_the_hours_cut_leaves_it_unconfirmed(tmp_path: Path) -> None:
    """Else the finalist whose run was cut would be passed over for a worse one."""
    run = all_go_on(tmp_path)
    run.play_trials()
    run.confirm()
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
    run.play_trials()
    assert run.search.next() is Idle.OVER
    run.ledger.close(Closed(complete=True))
    again = all_go_on(tmp_path)
    assert again.space.diff(run.space)
    assert not any(change.breaks for change in run.space.diff(again.space))
    again.confirm()
    assert len(again.ledger.confirmations()) == 6
    assert again.result(tmp_path).best is again.ledger.trials[3]
    again.ledger.close()
