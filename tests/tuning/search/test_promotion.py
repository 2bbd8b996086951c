"""Promotion: who waits, who is thawed, who goes on by lot, and that a restart knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tuning.lr_space import METRIC, kill, lr_space, open_ledger, report
from tuning.ledger.events import Promoted
from tuning.ledger.ledger import Ledger
from tuning.search.decisions import Decision, Idle
from tuning.search.promotion import PromotionTable
from tuning.search.search import Search

Table = Callable[..., PromotionTable]


@pytest.fixture
def table(ledger_in: Callable[..., Ledger]) -> Table:
    """``table(folder, trials=50, **options)``: that of the ledger there, opened (again)."""

    def start(folder: Path, trials: int = 50, **options: Any) -> PromotionTable:
        return PromotionTable(ledger_in(folder, trials), (1, 3), reduction_factor=3, **options)

    return start


def test_early_arrivals_wait_too(tmp_path: Path, table: Table) -> None:
    """The stopping kind lets the first three go on whatever they are worth."""
    rungs = table(tmp_path)
    keeps = [rungs.enter(1, trial, score).keeps for trial, score in ((1, 3.0), (2, 2.0))]
    assert keeps == [False, False]
    assert rungs.promote() is None
    assert not rungs.enter(1, 3, 9.0).keeps
    assert rungs.promote() == Promoted(2, 1, rank=1, peers=3)
    assert rungs.promote() is None  # one third of three is one


def test_the_best_goes_on_at_once(tmp_path: Path, table: Table) -> None:
    rungs = table(tmp_path)
    for trial in (1, 2):
        rungs.enter(1, trial, 5.0 + trial)
    assert rungs.enter(1, 3, 1.0).keeps
    assert rungs.promote() is None


def test_higher_rungs_come_first(tmp_path: Path, table: Table) -> None:
    rungs = table(tmp_path)
    for trial in range(1, 7):
        rungs.enter(1, trial, float(trial))
    for trial in (4, 5, 6):
        rungs.enter(3, trial, 10.0 - trial)
    assert rungs.waits_at(4) == 3
    found = [rungs.promote() for _ in range(4)]
    assert [(one.epoch, one.trial) for one in filter(None, found)] == [(1, 1), (1, 2)]
    rungs.enter(3, 7, 20.0)
    rungs.enter(3, 8, 20.0)
    rungs.enter(3, 9, 30.0)
    promoted = rungs.promote()
    assert promoted is not None
    assert promoted.epoch == 3


def test_promotions_follow_the_definition(tmp_path: Path, table: Table) -> None:
    """Against Algorithm 2 written out: after every arrival exactly the best third has gone on."""
    rng = np.random.default_rng(0)
    rungs = table(tmp_path)
    scores = dict(enumerate(rng.permutation(40).astype(float).tolist(), start=1))
    gone: set[int] = set()
    for arrived, (trial, score) in enumerate(scores.items(), start=1):
        if rungs.enter(1, trial, score).keeps:
            gone.add(trial)
        while (taken := rungs.promote()) is not None:
            gone.add(taken.trial)
        ranked = sorted(list(scores)[:arrived], key=lambda t: scores[t])
        assert set(ranked[: arrived // 3]) <= gone
    assert len(gone) >= 13


def test_a_restart_promotes_the_same_and_nobody_twice(tmp_path: Path, table: Table) -> None:
    taken, waiting = [], []
    for name in ("straight", "broken"):
        folder = tmp_path / name
        folder.mkdir()
        rungs = table(folder, control=0.3, seed=5)
        for trial in range(1, 7):
            rungs.enter(1, trial, float(trial))
            rungs = table(folder, control=0.3, seed=5) if name == "broken" else rungs
        found = []
        while (promoted := rungs.promote()) is not None:
            found.append(promoted)
            rungs = table(folder, control=0.3, seed=5) if name == "broken" else rungs
            assert rungs.waits_at(promoted.trial) is None
        taken.append((found, rungs.rungs[1].entries))
        waiting.append([trial for trial in range(1, 7) if rungs.waits_at(trial)])
    assert taken[0] == taken[1]
    assert [one.trial for one in taken[0][0]] == [1, 2]
    assert waiting[0] == waiting[1] != []


def test_controls_are_a_seeded_share_of_the_losers(tmp_path: Path, table: Table) -> None:
    shares = {}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        folder = tmp_path / name
        folder.mkdir()
        rungs = table(folder, trials=301, control=0.2, seed=seed)
        rungs.enter(1, 0, -1.0)
        entries = [rungs.enter(1, trial, float(trial)) for trial in range(1, 301)]
        losers = [entry for entry in entries if entry.rank > entry.peers // 3]
        assert all(entry.keeps for entry in losers if entry.control)
        assert not any(entry.control for entry in entries if entry not in losers)
        shares[name] = [entry.trial for entry in losers if entry.control]
        assert 0.1 < len(shares[name]) / len(losers) < 0.3
    assert shares["a"] == shares["b"]
    assert shares["a"] != shares["c"]


class Play:
    """A search by promotion, told by hand."""

    def __init__(self, folder: Path, trials: int = 9) -> None:
        section = {"name": "promote", "control": 0.0, "pilots": 0}
        self.space = lr_space(folder, scheduler=section, budget={"trials": trials})
        self.ledger = open_ledger(folder)
        self.search = Search(self.space, self.ledger)

    def next(self) -> int | Idle:
        """Start what the search says."""
        found = self.search.next()
        if isinstance(found, Idle):
            return found
        self.search.started(found.trial)
        return found.trial

    def run(self, number: int) -> list[int]:
        """Report until the search ends the trial; the epochs that were trained."""
        before = self.ledger.trials[number].epochs
        if before:
            again = report(before, self.value(number, before))
            assert self.search.report(number, again, restored=True) is Decision.GO_ON
        for epoch in range(before + 1, 10):
            metrics = report(epoch, self.value(number, epoch))
            if self.search.report(number, metrics).ends_process:
                break
        self.search.process_ended(number)
        return list(range(before + 1, epoch + 1))

    def value(self, number: int, epoch: int) -> float:
        return float((number * 5 + 4) % 9) + 1 / epoch


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Play]:
    found = Play(tmp_path)
    yield found
    found.ledger.close()


def test_a_serial_search_by_promotion(play: Play) -> None:
    started: list[tuple[int, int]] = []
    while isinstance(number := play.next(), int):
        started.append((number, play.run(number)[-1]))
    assert number is Idle.OVER
    play.search.end()
    trials = play.ledger.records()
    assert all(t.ended for t in trials)
    ranked = sorted(trials, key=lambda t: play.value(t.number, 9))
    assert all(trial.epochs >= 3 for trial in ranked[:3])  # of nine at the first rung
    assert ranked[0].state == "finished"
    assert trials[0].state == "finished"  # the prior, although it is no good
    assert ranked.index(trials[0]) > 2
    assert [t.epochs for t in ranked[-3:]] == [1, 1, 1]
    assert all(t.rung_stopped_at in (1, 3) for t in trials if t.state == "stopped")
    for trial in trials:
        assert list(trial.curve(METRIC)) == list(range(1, trial.epochs + 1))
    for level in (1, 3):  # ranks of the end, not of when each came
        there = [t for t in ranked if t.epochs >= level]
        there.sort(key=lambda t: play.value(t.number, level))
        for trial in (t for t in trials if t.rung_stopped_at == level):
            assert trial.reason == f"rank {there.index(trial) + 1} of {len(there)}"


def test_a_rung_with_too_few_says_so(play: Play) -> None:
    for _ in range(2):
        number = play.next()
        assert isinstance(number, int)
        play.run(number)
    play.search.end()
    reason = play.ledger.trials[1].reason
    assert reason in ("rank 1 of 2, too few to compare", "rank 2 of 2, too few to compare")


def test_a_search_killed_at_every_step_promotes_the_same(tmp_path: Path) -> None:
    stories = []
    for name in ("straight", "broken"):
        folder = tmp_path / name
        folder.mkdir()
        play, story = Play(folder), []
        while isinstance(number := play.next(), int):
            if name == "broken":  # between the proposal and its first report
                kill(play.ledger)
                play = Play(folder)
                assert play.next() == number
            story.append((number, *play.run(number)))
            if name == "broken":  # between two trials
                kill(play.ledger)
                play = Play(folder)
        play.ledger.close()
        stories.append(story)
    assert stories[0] == stories[1]
    assert len(stories[0]) > 9  # someone was thawed


def test_who_waits_is_no_zombie_to_the_sampler(play: Play) -> None:
    from optuna.trial import TrialState

    from tuning.search.optuna_encoder import OptunaEncoder

    for _ in range(3):
        number = play.next()
        assert isinstance(number, int)
        play.run(number)
    encoder = OptunaEncoder(play.space)
    states = [encoder.state(record, None)[0] for record in play.ledger.records()]
    assert TrialState.PRUNED in states
    assert TrialState.RUNNING not in states
