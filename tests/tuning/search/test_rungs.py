"""The rung table: who goes on, and that a restart decides the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.tuning.ledger_lines import read_lines
from tuning.ledger.ledger import Ledger
from tuning.search.rungs import RungTable


@pytest.fixture
def ledgers(ledger_in: Callable[..., Ledger], tmp_path: Path) -> Callable[[], Ledger]:
    """``ledgers()``: the ledger of the one experiment, opened (again)."""
    return lambda: ledger_in(tmp_path, trials=100)


@pytest.fixture
def rungs(ledgers: Callable[[], Ledger]) -> RungTable:
    return table(ledgers())


def table(ledger: Ledger, reduction_factor: int = 3) -> RungTable:
    return RungTable(ledger, levels=(1, 3), reduction_factor=reduction_factor)


def test_the_first_peers_go_on_then_the_best_third(rungs: RungTable) -> None:
    scores = {1: 5.0, 2: 4.0, 3: 6.0, 4: 4.5, 5: 4.6, 6: 4.2, 7: 4.3}
    kept = [trial for trial, score in scores.items() if rungs.enter(1, trial, score).keeps]
    # Fewer than three peers: 1 and 2 go on. Three to five: only the best. Six and seven: two.
    assert kept == [1, 2, 6]


def test_the_prior_goes_on_and_counts_as_a_peer(rungs: RungTable) -> None:
    rungs.enter(1, 1, 1.0)
    rungs.enter(1, 2, 2.0)
    prior = rungs.enter(1, 0, 9.0)
    assert (prior.keeps, prior.rank, prior.peers) == (True, 3, 3)
    assert not rungs.enter(1, 3, 8.0).keeps


def test_equal_scores_rank_by_number(rungs: RungTable) -> None:
    """Ray's own compares with `<` and never stops a sequence of equal scores."""
    kept = [rungs.enter(1, trial, 1.0).keeps for trial in (1, 2, 3, 4, 5)]
    assert kept == [True, True, False, False, False]


def test_a_restart_remembers_and_decides_the_same(ledgers: Callable[[], Ledger]) -> None:
    first = table(ledgers())
    before = [first.enter(1, trial, float(trial)) for trial in (1, 2, 3)]
    again = table(ledgers())
    assert list(again.rungs[1].entries.values()) == before
    # Trial 3 was stopped; with the table gone it would be the first there, and go on.
    assert again.enter(1, 3, 0.0) == before[2]
    assert again.enter(1, 4, 4.0).rank == 4
    assert not again.rungs[3].entries


def test_a_decision_is_written_once(ledgers: Callable[[], Ledger]) -> None:
    for _ in range(3):
        ledger = ledgers()
        table(ledger).enter(1, 7, 0.5)
    lines = [e for e in read_lines(ledger.path.parent) if e["event"] == "decision"]
    assert [(e["trial"], e["epoch"], e["score"], e["rank"]) for e in lines] == [(7, 1, 0.5, 1)]


def test_ranks_are_those_of_a_sorted_list(rungs: RungTable) -> None:
    """Against the definition, with ties; equal scores rank by number."""
    rng = np.random.default_rng(0)
    scores: dict[int, float] = {}
    for trial in rng.permutation(100).tolist():
        scores[trial] = float(rng.integers(20))
        entry = rungs.enter(1, trial, scores[trial])
        ranked = sorted(scores, key=lambda t: (scores[t], t))
        assert (ranked.index(trial) + 1, len(scores)) == (entry.rank, entry.peers)


@pytest.mark.parametrize(
    ("before", "epoch", "level"),
    [(0, 1, 1), (1, 2, None), (2, 3, 3), (0, 5, 3), (3, 9, None)],
)
def test_only_the_highest_crossed_rung_counts(
    rungs: RungTable, before: int, epoch: int, level: int | None
) -> None:
    assert rungs.crossed(before, epoch) == level
