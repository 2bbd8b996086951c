"""A search breaks off where trial after trial fails, and a resume gives those another chance."""

from __future__ import annotations

from pathlib import Path

from tests.tuning.lr_space import kill, lr_space, open_ledger, report
from tuning.ledger.events import Failed, Proposed, Reopened, Report, Started
from tuning.ledger.ledger import Ledger
from tuning.on_ray.closing import IN_A_ROW, Closing
from tuning.on_ray.trainable import Place


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
    closing = Closing(tmp_path, ledger, None)
    for number in range(1, IN_A_ROW):
        fail(ledger, number)
    assert not closing.asked()
    ledger.append(Report(0, metrics=report(2, 1.9)))  # it works for somebody
    fail(ledger, IN_A_ROW)
    assert not closing.asked()
    for number in range(IN_A_ROW + 1, 2 * IN_A_ROW):
        fail(ledger, number)
    assert closing.asked()
    assert closing.problem == (
        "5 trials failed one after the other, the last: refused: no such set"
    )
    kill(ledger)


def test_diverged_trials_say_nothing_of_the_machine(tmp_path: Path) -> None:
    ledger = with_prior(tmp_path)
    closing = Closing(tmp_path, ledger, None)
    for number in range(1, 9):
        fail(ledger, number, "diverged: loss is inf", diverged=True)
    assert not closing.asked()
    kill(ledger)


def test_a_resume_gives_them_one_more_chance(tmp_path: Path) -> None:
    ledger = with_prior(tmp_path)
    fail(ledger, 1)
    ledger.append(Report(0, metrics=report(2, 1.9)))
    for number in range(2, 2 + IN_A_ROW):
        fail(ledger, number)
    kill(ledger)
    again = Ledger(tmp_path / "rates-x")
    assert Closing.to_reopen(again) == [2, 3, 4, 5, 6]  # not the one that failed alone
    again.open()
    for number in Closing.to_reopen(again):
        again.append(Reopened(number))
    assert not again.failed_in_a_row
    for number in (2, 3, 4, 5, 6):
        again.append(Reopened(number))
        assert again.trials[number].state == "pending"
    assert not Closing(tmp_path, again, None).asked()
    for number in (2, 3, 4, 5, 6):
        fail(again, number)
    kill(again)
    assert Closing.to_reopen(Ledger(tmp_path / "rates-x")) == []


def test_a_prior_that_was_refused_is_tried_at_every_resume(tmp_path: Path) -> None:
    """Its data may be back; without it nothing else is started."""
    ledger = with_prior(tmp_path)
    for _ in range(2):
        fail(ledger, 0)
        closing = Closing(tmp_path, ledger, None)
        assert closing.asked()
        assert closing.problem == "the prior was refused: no such set"
        assert Closing.to_reopen(ledger) == [0]
        ledger.append(Reopened(0))
        assert not Closing(tmp_path, ledger, None).asked()
    kill(ledger)


def test_each_session_has_a_file_of_its_own_that_asks_trials_to_close(tmp_path: Path) -> None:
    """Over NFS a node may go on seeing the one of the session before, and end its trials."""
    ledger = with_prior(tmp_path)
    before = Closing(tmp_path, ledger, None)
    before.ask("signal")
    assert (tmp_path / before.stop_file).exists()
    after = Closing(tmp_path, ledger, None)
    assert not (tmp_path / before.stop_file).exists()
    (tmp_path / before.stop_file).touch()  # as such a node sees it
    place = Place(lr_space(tmp_path), tmp_path, stop_file=after.stop_file)
    assert not place.closing()
    after.ask("hours")
    assert place.closing()
    kill(ledger)
