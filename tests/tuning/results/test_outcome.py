"""Which trial is the best, and beside which of the prior's reports it is shown."""

from __future__ import annotations

from pathlib import Path

from tests.tuning.lr_space import METRIC, lr_space
from tuning.ledger.records import TrialRecord
from tuning.results.outcome import at_common_epoch, best_of


def trial(number: int, curve: dict[int, float], epochs: int, state: str = "running") -> TrialRecord:
    """Reports of every epoch, of which those in ``curve`` were validated."""
    reports = [
        {"epoch": float(e)} | ({METRIC: curve[e]} if e in curve else {})
        for e in range(1, epochs + 1)
    ]
    return TrialRecord(f"x-{number}", number, {}, reports=reports, state=state)  # type: ignore[arg-type]


def test_epochs_without_a_validation_hide_nobody(tmp_path: Path) -> None:
    """The hours ended; who went furthest was not validated in its very last epoch."""
    space = lr_space(tmp_path, fidelity={"max": 81})
    far = trial(0, {3: 1.0, 6: 0.6, 9: 0.5, 12: 0.4}, 14)
    near = trial(1, {3: 0.9, 6: 0.5, 9: 0.3}, 11)
    lost = trial(2, {3: 0.95}, 3, "stopped")
    assert best_of([far, near, lost], space) is near  # at epoch 9, which both have
    assert best_of([far, lost], space) is lost  # all that is known of both is epoch 3
    assert best_of([far], space) is far
    assert best_of([trial(0, {}, 2)], space) is None


def test_where_one_came_to_the_end_only_such_are_compared(tmp_path: Path) -> None:
    space = lr_space(tmp_path)
    whole = trial(0, {3: 1.0, 9: 0.9}, 9, "finished")
    early = trial(1, {3: 0.1, 6: 0.1}, 8)
    assert best_of([whole, early], space) is whole


def test_the_prior_is_shown_at_the_same_epoch() -> None:
    best = trial(1, {3: 0.9, 6: 0.5}, 8)
    at_six = at_common_epoch(best, trial(0, {3: 1.0, 6: 0.8, 9: 0.7}, 11), METRIC)
    assert [report.get(METRIC) for report in at_six] == [0.5, 0.8]
    assert [
        r.get(METRIC) for r in at_common_epoch(best, trial(0, {3: 1.0}, 4, "failed"), METRIC)
    ] == [
        0.5,
        None,
    ]
    other_epochs = at_common_epoch(best, trial(0, {3: 1.0, 9: 0.7}, 11), METRIC)
    assert [report.get(METRIC) for report in other_epochs] == [0.9, 1.0]
    assert at_common_epoch(best, None, METRIC)[1] == {}


def test_a_best_trial_without_a_score_is_shown_by_what_it_reported() -> None:
    """As the prior is if no trial came within the range of the reference curve."""
    shown, its = at_common_epoch(trial(0, {}, 3, "finished"), trial(0, {}, 3, "finished"), METRIC)
    assert (shown["epoch"], its["epoch"]) == (3.0, 3.0)
