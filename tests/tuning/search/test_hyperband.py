"""Hyperband's brackets and who goes on in them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.tuning.lr_space import lr_space
from tests.tuning.plays import Searched
from tuning.search.hyperband import Hyperband, brackets
from tuning.spaces.sections import Budget


def test_the_table_of_the_paper() -> None:
    """Li et al. 2018, table 1: R = 81, eta = 3."""
    assert Hyperband().sizes(4)[::-1] == [81, 34, 15, 8, 5]
    found = brackets(Hyperband(), [1, 3, 9, 27], trials=143)
    assert [(len(b.members), b.levels[0] if b.levels else 81) for b in found] == [
        (81, 1),
        (34, 3),
        (15, 9),
        (8, 27),
        (5, 81),
    ]
    kept = [[b.room(level) for level in b.levels] for b in found]
    assert kept == [[27, 9, 3, 1], [11, 3, 1], [5, 1], [2], []]


def test_rounds_follow_one_another_and_the_last_bracket_is_cut() -> None:
    found = brackets(Hyperband(), [1, 3], trials=20)
    assert [list(b.members) for b in found] == [
        list(range(9)),
        list(range(9, 14)),
        [14, 15, 16],
        [17, 18, 19],
    ]
    assert [b.levels for b in found] == [(1, 3), (3,), (), (1, 3)]
    assert [found[-1].room(level) for level in (1, 3)] == [1, 1]
    assert [list(b.members) for b in brackets(Hyperband(), [], trials=3)] == [[0], [1], [2]]


@pytest.mark.parametrize("concurrent", [1, 4])
def test_each_bracket_keeps_its_best(tmp_path: Path, concurrent: int) -> None:
    """17 trials: 9 halved at 1 and 3, 5 halved at 3, 3 never; and the prior, which is no good."""
    prior = {"optimizer.lr": {"type": "float", "low": 1e-6, "high": 1e-2, "log": True}}
    prior["optimizer.lr"]["prior"] = 9e-3
    space = lr_space(
        tmp_path,
        scheduler={"name": "hyperband"},
        searcher={"name": "random", "seed": 3, "prior_share": 0.0},
        budget={"trials": 17, "concurrent": concurrent},
        parameters=prior,
    )
    play = Searched(tmp_path, space)
    assert play.session()
    trials = play.trials()
    scores = {t.number: t.curve("val_rd_cost") for t in trials}

    def best(numbers: list[int], epoch: int, count: int) -> list[int]:
        return sorted(sorted(numbers, key=lambda n: scores[n][epoch])[:count])

    third = best(list(range(9)), 1, 3)
    assert 0 not in third
    assert [t.number for t in trials[:9] if t.epochs >= 3] == sorted({0, *third})
    assert [t.number for t in trials[:9] if t.epochs == 9] == sorted(
        {0, *best(sorted({0, *third}), 3, 1)}
    )
    assert [t.number for t in trials[9:14] if t.epochs == 9] == best(list(range(9, 14)), 3, 1)
    assert all(t.epochs >= 3 for t in trials[9:14])
    assert [t.state for t in trials[14:]] == ["finished"] * 3
    assert sum(t.epochs for t in trials) == space.scheduler.planned_epochs(17, space.rungs())
    stopped = next(t for t in trials if t.state == "stopped")
    assert stopped.reason == f"rank {ranks(play)[stopped.number]} of 9"


def ranks(play: Searched) -> dict[int, int]:
    """By trial: at the first rung."""
    return {e["trial"]: e["rank"] for e in play.events() if e.get("epoch") == 1 and "rank" in e}


def test_a_bracket_that_is_cut_waits_for_nobody_beyond_the_budget(tmp_path: Path) -> None:
    space = lr_space(tmp_path, scheduler={"name": "hyperband"})
    for trials in (1, 2, 10):
        folder = tmp_path / str(trials)
        play = Searched(folder, replace(space, budget=Budget(trials=trials, concurrent=2)))
        assert play.session()
        assert len(play.trials()) == trials
