"""Trials come to grief, each in its way, in one search."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.drills.fake_training import fault_times, trained, write_faults
from tests.drills.loss import repeated
from tests.drills.search import Search, space_of
from tests.drills.twin import follow
from tuning.ledger.records import TrialRecord

pytestmark = [pytest.mark.ray, pytest.mark.cluster, pytest.mark.timeout(500)]

#: By learning rate, in the order of the trials: what happens in which epoch, and how often. Each is
#: better than those before it, so it passes every rung, and stands between two checkpoints then.
FAULTS = {
    2e-3: None,  # the prior
    1e-3: None,
    4e-4: ("die", 6, 1),
    3e-4: ("raise", 6, 1),
    2.5e-4: ("corrupt_and_die", 6, 1),
    2e-4: ("vanish_and_die", 6, 1),
    1.7e-4: ("hang", 6, 1),
    1.5e-4: ("nan", 6, 1),
    1.2e-4: ("raise", 6, 99),
}
SECTIONS = {
    "scheduler": {"name": "asha", "pilots": 0},
    "budget": {"trials": len(FAULTS), "concurrent": 1},  # in this order at every rung, too
    "faults": {"hang_after": 2, "hang_minutes": 0.15},
}
HEALTHY = [rate for rate, fault in FAULTS.items() if fault is None]


@dataclass
class Drilled:
    """The search after its end."""

    search: Search
    trials: dict[float, TrialRecord]
    repeated: Counter[float]


@pytest.fixture(scope="module")
def drilled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drilled]:
    """One search in which everything happens."""
    folder: Path = tmp_path_factory.mktemp("faults")
    search = Search(folder, space_of(list(FAULTS), **SECTIONS))
    write_faults(folder, {rate: fault for rate, fault in FAULTS.items() if fault})
    search.start(seconds=0.05)
    try:
        assert search.finish(450) == 0
        trials = {t.params["optimizer.lr"]: t for t in search.trials()}
        yield Drilled(search, trials, repeated(trained(folder)))
    finally:
        search.kill()


@pytest.mark.parametrize(
    ("rate", "epochs", "kind", "message"),
    [
        (4e-4, [4, 5], "killed", "its process died"),  # at epoch 6, saved at 3
        (1.7e-4, [4, 5], "hung", "hung: no report for"),
        (3e-4, [4, 5], "exception", "RuntimeError: a cosmic ray"),
        (2.5e-4, [2, 3, 4, 5], "killed", "its process died"),  # before the damaged one: epoch 1
        (2e-4, [1, 2, 3, 4, 5], "killed", "its process died"),  # none is left
    ],
    ids=["killed", "hung", "exception-once", "newest-checkpoint-corrupt", "checkpoints-gone"],
)
def test_a_trial_goes_on_from_its_checkpoint(
    rate: float,
    epochs: list[int],
    kind: str,
    message: str,
    drilled: Drilled,
    lost: Callable[[str], None],
) -> None:
    trial = drilled.trials[rate]
    retried = [e for e in drilled.search.events() if e["event"] == "retried"]
    lines = [e for e in retried if e["trial"] == trial.number]
    assert [(e.get("kind", "exception"), message in e["reason"]) for e in lines] == [
        (kind, True)
    ], lines
    assert (trial.state, trial.epochs, trial.retries) == ("finished", 9, 1)
    again = Counter(e.epoch for e in drilled.search.trained() if e.rate == rate)
    assert sorted(epoch for epoch, count in again.items() if count > 1) == epochs
    (fault,) = fault_times(drilled.search.folder, rate)
    back = drilled.search.back(trial.number, fault)
    lost(f"{len(epochs)} epochs; it went on after {back:.1f} s")


@pytest.mark.parametrize(
    ("rate", "retries", "message"),
    [(1.5e-4, 0, "val_rd_cost is nan at epoch 6"), (1.2e-4, 1, "the same error twice")],
    ids=["nan", "exception-always"],
)
def test_what_a_retry_cannot_help_ends_the_trial(
    rate: float, retries: int, message: str, drilled: Drilled, lost: Callable[[str], None]
) -> None:
    trial = drilled.trials[rate]
    assert (trial.state, trial.retries) == ("failed", retries)
    assert message in (trial.reason or "")
    lost(f"the trial, after {len(fault_times(drilled.search.folder, rate))} of its faults")


def test_no_healthy_trial_and_no_decision_suffers(drilled: Drilled) -> None:
    follow(drilled.search.events(), drilled.search.space())
    for rate in HEALTHY:
        assert drilled.trials[rate].state == "finished"
        assert not drilled.repeated[rate]
        assert drilled.trials[rate].retries == 0
