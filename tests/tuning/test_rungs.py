"""The rung table: who goes on, and that a restart decides the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hpcm.schema import ConfigError
from tuning.rungs import RUNGS_FILE, RungTable, write_atomically


def table(folder: Path, reduction_factor: int = 3) -> RungTable:
    return RungTable(folder, levels=(1, 3), reduction_factor=reduction_factor)


def test_the_first_peers_go_on_then_the_best_third(tmp_path: Path) -> None:
    rungs = table(tmp_path)
    scores = {1: 5.0, 2: 4.0, 3: 6.0, 4: 4.5, 5: 4.6, 6: 4.2, 7: 4.3}
    kept = [trial for trial, score in scores.items() if rungs.enter(1, trial, score).keeps]
    # Fewer than three peers: 1 and 2 go on. Three to five: only the best. Six and seven: two.
    assert kept == [1, 2, 6]


def test_the_prior_goes_on_and_counts_as_a_peer(tmp_path: Path) -> None:
    rungs = table(tmp_path)
    rungs.enter(1, 1, 1.0)
    rungs.enter(1, 2, 2.0)
    prior = rungs.enter(1, 0, 9.0)
    assert (prior.keeps, prior.rank, prior.peers) == (True, 3, 3)
    assert not rungs.enter(1, 3, 8.0).keeps


def test_equal_scores_rank_by_number(tmp_path: Path) -> None:
    """Ray's own compares with `<` and never stops a sequence of equal scores."""
    rungs = table(tmp_path)
    kept = [rungs.enter(1, trial, 1.0).keeps for trial in (1, 2, 3, 4, 5)]
    assert kept == [True, True, False, False, False]


def test_a_restart_remembers_and_decides_the_same(tmp_path: Path) -> None:
    first = table(tmp_path)
    before = [first.enter(1, trial, float(trial)) for trial in (1, 2, 3)]
    again = table(tmp_path)
    assert again.at(1) == before
    # Trial 3 was stopped; with the table gone it would be the first there, and go on.
    assert again.enter(1, 3, 0.0) == before[2]
    assert again.enter(1, 4, 4.0).rank == 4
    assert again.at(3) == []


def test_it_is_read_at_the_first_use(tmp_path: Path) -> None:
    early = table(tmp_path)
    table(tmp_path).enter(1, 7, 0.5)
    assert [entry.trial for entry in early.at(1)] == [7]


@pytest.mark.parametrize(
    ("before", "epoch", "level"),
    [(0, 1, 1), (1, 2, None), (2, 3, 3), (0, 5, 3), (3, 9, None)],
)
def test_only_the_highest_crossed_rung_counts(
    tmp_path: Path, before: int, epoch: int, level: int | None
) -> None:
    assert table(tmp_path).crossed(before, epoch) == level


def test_a_crash_while_writing_leaves_the_old_table(tmp_path: Path) -> None:
    rungs = table(tmp_path)
    rungs.enter(1, 1, 1.0)
    (tmp_path / f"{RUNGS_FILE}.partial").write_text('{"1": [{"tri')  # a write that was cut short
    assert [entry.trial for entry in table(tmp_path).at(1)] == [1]


def test_a_replaced_file_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_atomically(path, b"1")
    write_atomically(path, b"[2]")
    assert json.loads(path.read_text()) == [2]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", '{"1": "x"}', '{"1": [{}]}', '{"a": []}']
)
def test_a_damaged_table_is_refused_before_anything_runs(tmp_path: Path, content: str) -> None:
    (tmp_path / RUNGS_FILE).write_text(content)
    with pytest.raises(ConfigError, match=r"rungs\.json: damaged: "):
        table(tmp_path).check()
