"""A search breaks off where trial after trial fails, and a resume gives those another chance."""

from __future__ import annotations

from pathlib import Path

from tests.tuning.lr_space import kill, lr_space, open_ledger, report
from tuning.ledger.events import Failed, Opened, Proposed, Report, Started
from tuning.ledger.ledger import Ledger
from tuning.on_ray.closing import Closing
from tuning.on_ray.trainable import TrialContext
from tuning.search.decisions import Idle
from tuning.search.search import Search
from tuning.search.sessions import IN_A_ROW, open_session, trials_to_reopen


def fail(ledger: Ledger, number: int, reason: str = "refused: no such set", **more: bool) -> None:
    if number not in ledger.trials:
        ledger.append(Proposed(number, params={"optimizer.lr": 1e-4}))
    ledger.append(Started(number))
    ledger.append(Failed(number, reason=reason, **more))


def with_prior(folder: Path) -> Ledger:
    ledger = open_ledger(folder)
    ledger.append(Proposed(0, params={"optimizer.lr": 1e-4}))
    ledger.append(Started(0))
    ledger.append(Report(0, metrics=report(1, 2.0)))
    return ledger


def test_failures_in_a_row_end_the_search_before_its_budget_is_used_up(tmp_path: Path) -> None:
    ledger = with_prior(tmp_path)
    search = Search(lr_space(tmp_path), ledger)
    for number in range(1, IN_A_ROW):
        fail(ledger, number)
    assert not search.is_closing()
    ledger.append(Report(0, metrics=report(2, 1.9)))  # it works for somebody
    fail(ledger, IN_A_ROW)
    assert not search.is_closing()
    for number in range(IN_A_ROW + 1, 2 * IN_A_ROW):
        fail(ledger, number)
    assert search.is_closing()
    assert search.problem == "5 trials failed one after the other, the last: refused: no such set"
    assert search.next() is Idle.OVER
    kill(ledger)


def test_diverged_trials_say_nothing_of_the_machine(tmp_path: Path) -> None:
    ledger = with_prior(tmp_path)
    search = Search(lr_space(tmp_path), ledger)
    for number in range(1, 9):
        fail(ledger, number, "diverged: loss is inf", diverged=True)
    assert not search.is_closing()
    kill(ledger)


def test_a_resume_gives_them_one_more_chance(tmp_path: Path) -> None:
    ledger = with_prior(tmp_path)
    fail(ledger, 1)
    ledger.append(Report(0, metrics=report(2, 1.9)))
    for number in range(2, 2 + IN_A_ROW):
        fail(ledger, number)
    kill(ledger)
    again = Ledger(tmp_path / "rates-x")
    assert trials_to_reopen(again) == [2, 3, 4, 5, 6]  # not the one that failed alone
    open_session(again, Opened())
    assert not again.failed_in_a_row
    assert [again.trials[number].state for number in range(1, 7)] == ["failed", *["pending"] * 5]
    assert not Search(lr_space(tmp_path), again).is_closing()
    for number in (2, 3, 4, 5, 6):
        fail(again, number)
    kill(again)
    assert trials_to_reopen(Ledger(tmp_path / "rates-x")) == []


def test_a_prior_that_was_refused_is_tried_at_every_resume(tmp_path: Path) -> None:
    """Its data may be back; without it nothing else is started."""
    ledger = with_prior(tmp_path)
    for _ in range(2):
        fail(ledger, 0)
        search = Search(lr_space(tmp_path), ledger)
        assert search.is_closing()
        assert search.problem == "the prior was refused: no such set"
        kill(ledger)
        open_session(ledger, Opened())
        assert ledger.trials[0].state == "pending"
        assert not Search(lr_space(tmp_path), ledger).is_closing()
    kill(ledger)


def test_a_search_that_breaks_off_asks_its_trials_to_save(tmp_path: Path) -> None:
    """So does one whose hours are spent."""
    for spent in (False, True):
        folder = tmp_path / str(spent)
        folder.mkdir()
        ledger, now = with_prior(folder), [0.0]
        closing = Closing(folder, 60.0, clock=lambda now=now: now[0])
        closing.attach(Search(lr_space(folder), ledger))
        now[0] = 60.0
        assert not closing.asked()
        assert not (folder / closing.stop_file).exists()
        if spent:
            now[0] = 60.5
        else:
            fail(ledger, 0)
        assert closing.asked()
        assert closing.reason == ("hours" if spent else "refused")
        assert (folder / closing.stop_file).exists()
        kill(ledger)


def test_a_signal_before_there_is_a_search_closes_it(tmp_path: Path) -> None:
    ledger = with_prior(tmp_path)
    closing = Closing(tmp_path, None)
    assert not closing.asked()
    closing.ask("signal")
    assert closing.asked()
    search = Search(lr_space(tmp_path), ledger)
    closing.attach(search)
    assert (search.closing, closing.interrupted) == ("signal", True)
    kill(ledger)


def test_each_session_has_a_file_of_its_own_that_asks_trials_to_close(tmp_path: Path) -> None:
    """Over NFS a node may go on seeing the one of the session before, and end its trials."""
    before = Closing(tmp_path, None)
    before.ask("signal")
    assert (tmp_path / before.stop_file).exists()
    after = Closing(tmp_path, None)
    assert not (tmp_path / before.stop_file).exists()
    (tmp_path / before.stop_file).touch()  # as such a node sees it
    context = TrialContext(lr_space(tmp_path), tmp_path, stop_file=after.stop_file)
    assert not context.closing()
    after.ask("hours")
    assert context.closing()
