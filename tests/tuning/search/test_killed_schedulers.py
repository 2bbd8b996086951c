"""Every scheduler decides the same, however often and wherever its driver is killed; no Ray."""

from __future__ import annotations

import functools
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.tuning.lr_space import METRIC, lr_space
from tests.tuning.plays import Searched, fates
from tuning.ledger.ledger import Ledger
from tuning.ledger.records import TrialRecord
from tuning.search.decisions import Start
from tuning.simulation.drive import Epoch
from tuning.spaces.scheduler_section import SCHEDULERS
from tuning.spaces.sections import Budget, Confirm
from tuning.spaces.space import SearchSpace

MUTABLE = {
    "optimizer.lr": {
        "type": "float",
        "low": 1.0e-6,
        "high": 1.0e-2,
        "log": True,
        "prior": 2.0e-4,
        "mutable": True,
    }
}
#: Keys under which more of a scheduler is seen than with its defaults.
SETTINGS: dict[str, dict[str, Any]] = {
    "asha": {"pilots": 3},
    "promote": {"control": 0.2, "seed": 2},
    "pbt": {"quantile": 0.4},
}
#: Those whose decisions do not depend on who reports first.
COHORTS = ("hyperband", "pbt")


@functools.cache
def space_of(name: str) -> SearchSpace:
    with tempfile.TemporaryDirectory() as folder:
        return lr_space(
            Path(folder),
            scheduler={"name": name, **SETTINGS.get(name, {})},
            searcher={"name": "random", "seed": 1},
            fidelity={"min": 3 if name == "pbt" else 1},
            parameters=MUTABLE,
        )


def searched(folder: Path, name: str, trials: int = 7, concurrent: int = 1) -> Searched:
    budget = Budget(trials=trials, concurrent=concurrent)
    return Searched(folder, replace(space_of(name), budget=budget))


def windows(play: Searched) -> list[int]:
    """Lines of the ledger: the first and the last of each kind after each other kind."""
    kinds = ["", *(event["event"] for event in play.events())]
    pairs = list(pairwise(kinds))
    return sorted(
        {pairs.index(pair) + 1 for pair in pairs}
        | {len(pairs) - pairs[::-1].index(pair) for pair in pairs}
    )


@pytest.mark.parametrize("name", sorted(set(SCHEDULERS) - {"asha", "promote"}))
def test_killed_before_any_kind_of_line(name: str, tmp_path: Path) -> None:
    """Before every single line: asha and promote in tests/drills/test_every_line.py."""
    straight = searched(tmp_path / "straight", name)
    assert straight.session()
    assert all(t.ended for t in straight.trials())
    for line in windows(straight):
        play = searched(tmp_path / str(line), name)
        assert not play.session(die_before=line)
        assert play.session()
        assert fates(play.trials()) == fates(straight.trials()), f"killed before line {line}"


@pytest.mark.parametrize("name", SCHEDULERS)
def test_killed_again_and_again(name: str, tmp_path: Path) -> None:
    straight = searched(tmp_path / "straight", name)
    assert straight.session()
    play, sessions, line = searched(tmp_path / "killed", name), 0, 4
    while not play.session(die_before=line):
        sessions, line = sessions + 1, line + 1
        assert sessions < 100
    assert sessions > 2
    assert fates(play.trials()) == fates(straight.trials())


@pytest.mark.parametrize("name", sorted(set(SCHEDULERS) - {"pbt"}))
def test_trials_that_stop_early_are_compared_to_the_end(name: str, tmp_path: Path) -> None:
    """One whose training ends by itself would else run for ever, and its search with it."""

    def play(folder: str) -> Searched:
        found = searched(tmp_path / folder, name)
        found.early = {0: 4, 1: 2, 2: 1, 4: 5, 5: 2}
        return found

    straight = play("straight")
    assert straight.session()
    for number, last in straight.early.items():
        trial = straight.trials()[number]
        assert trial.ended
        curve = trial.curve(METRIC)
        assert len({value for epoch, value in curve.items() if epoch >= last}) <= 1
    finished = [t for t in straight.trials() if t.state == "finished"]
    assert any(t.number in straight.early for t in finished)
    assert max(epoch for number, epoch in straight.trained if number == 0) == 4
    for line in windows(straight)[::3]:
        killed = play(str(line))
        assert not killed.session(die_before=line)
        assert killed.session()
        assert fates(killed.trials()) == fates(straight.trials()), f"killed before line {line}"


@pytest.mark.parametrize("name", COHORTS)
def test_a_cohort_decides_the_same_with_any_number_at_a_time(name: str, tmp_path: Path) -> None:
    stories = []
    for concurrent in (1, 3, 9):
        play = searched(tmp_path / str(concurrent), name, trials=9, concurrent=concurrent)
        assert play.session()
        stories.append(fates(play.trials()))
    assert stories[0] == stories[1] == stories[2]
    play, line = searched(tmp_path / "killed", name, trials=9, concurrent=3), 7
    while not play.session(die_before=line):
        line += 1
    assert line > 9
    assert fates(play.trials()) == stories[0]


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_search_whose_hours_ended_goes_on_with_more(name: str, tmp_path: Path) -> None:
    """Who waited was not decided of; who was in training goes on from its checkpoint."""
    straight = searched(tmp_path / "straight", name)
    assert straight.session()
    for reports in (3, 8, 14, 20):
        play = searched(tmp_path / str(reports), name)
        assert play.session(close_after=reports)
        assert all(t.ended for t in play.trials())
        assert play.session()
        assert len(play.trials()) == 7
        assert all(t.ended for t in play.trials())
        found, expected = play.trials(), straight.trials()
        if name == "promote":  # a rank is that of the end at which it was told
            found, expected = without_ranks(found), without_ranks(expected)
        assert fates(found) == fates(expected), reports


def without_ranks(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    return [replace(t, reason=re.sub(r"\d+", "", t.reason or "")) for t in trials]


@pytest.mark.parametrize("name", SCHEDULERS)
def test_checkpoints_that_vanish_cost_epochs_and_no_decision(name: str, tmp_path: Path) -> None:
    """Of all trials, those that wait included; only a copy cannot begin again."""
    straight = searched(tmp_path / "straight", name)
    assert straight.session()
    lines = len(straight.events())
    for line in (lines // 3, lines // 2, 2 * lines // 3):
        play = searched(tmp_path / str(line), name)
        assert not play.session(die_before=line)
        shutil.rmtree(play.directory / "checkpoints")
        copies = {t.number for t in play.trials() if t.exploits}
        assert play.session()
        lost = {t.number for t in play.trials() if t.state == "failed"}
        assert lost <= copies
        if not lost:
            assert fates(play.trials()) == fates(straight.trials())
            assert len(play.trained) >= len(straight.trained)


def test_promotions_go_on_where_more_trials_come(tmp_path: Path) -> None:
    """Who waited at the end of the budget is stopped, and thawed when there is room again."""
    rates = [9e-3, 2e-4, 3e-4, 4e-4, 5e-4, *(k * 1e-3 for k in range(1, 8))]  # the best come early
    space = lr_space(
        tmp_path,
        scheduler={"name": "promote", "control": 0.0, "pilots": 0},
        searcher={"name": "grid"},
        parameters={"optimizer.lr": {"type": "categorical", "choices": rates, "prior": rates[0]}},
    )

    def play(trials: int) -> Searched:
        return Searched(tmp_path, replace(space, budget=Budget(trials=trials, concurrent=1)))

    assert play(5).session()
    before = play(5).trials()
    assert [t.epochs for t in before] == [9, 3, 1, 1, 1]
    assert [t.state for t in before] == ["finished", *["stopped"] * 4]
    more = play(12)
    assert more.session()
    thawed = [(e["trial"], e["epoch"]) for e in more.events() if e["event"] == "promoted"]
    assert thawed == [(1, 1), (2, 1), (1, 3), (3, 1), (4, 1)]
    assert [t.epochs for t in more.trials()] == [9, 9, 3, 3, 3, *[1] * 7]
    assert all(t.ended for t in more.trials())


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_search_in_which_all_diverge_ends(name: str, tmp_path: Path) -> None:
    play = searched(tmp_path, name)
    play.nan = set(range(7))
    assert play.session()
    states = {t.state for t in play.trials()}
    assert "failed" in states
    assert states <= {"failed", "stopped"}  # some were stopped at epoch 1, before it showed


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_search_in_which_some_diverge_ends(name: str, tmp_path: Path) -> None:
    """A trial that fails while others wait for it lets them go on."""
    for broken in (0, 3, 6):
        play = searched(tmp_path / str(broken), name)
        play.nan = {broken}
        assert play.session()
        trials = play.trials()
        assert all(t.ended for t in trials)
        assert trials[broken].state in ("failed", "stopped")
        assert any(t.state == "finished" for t in trials)


@pytest.mark.parametrize("name", [n for n in SCHEDULERS if n != "pbt"])
@pytest.mark.parametrize("finalists", [0, 1])
def test_more_trials_after_the_end(name: str, finalists: int, tmp_path: Path) -> None:
    """Runs that confirm the finalists have numbers between those of the trials."""
    play = searched(tmp_path, name, trials=5)
    play.space = replace(play.space, confirm=Confirm(top=finalists, seeds=(1,)))
    assert play.session()
    runs = [t for t in Ledger(play.directory).trials.values() if t.confirms is not None]
    assert bool(runs) == bool(finalists)
    before = fates(play.trials())
    assert play.session()
    assert fates(play.trials()) == before, "a resume of a finished search changes nothing"
    more = searched(tmp_path, name, trials=9)
    assert more.session()
    assert len(more.trials()) == 9
    assert all(t.ended for t in more.trials())
    finished = [t for t in before if t[1] == "finished"]
    assert [f for f in fates(more.trials()) if f[0] in {t[0] for t in finished}] == finished


class Mute(Searched):
    """Processes of trial 2 that end without a word; ``times`` times."""

    times = 1

    def _begin(self, start: Start) -> Iterator[Epoch]:
        if start.trial == 2 and self.times:
            self.times -= 1
            return iter(())
        return super()._begin(start)


def test_a_trial_whose_process_ends_without_a_word_is_started_again(tmp_path: Path) -> None:
    straight = searched(tmp_path / "straight", "asha")
    assert straight.session()
    mute = Mute(tmp_path / "mute", straight.space)
    assert mute.session()
    assert fates(mute.trials()) == fates(straight.trials())


def test_one_that_never_says_a_word_fails_and_the_search_goes_on(tmp_path: Path) -> None:
    mute = Mute(tmp_path / "mute", searched(tmp_path / "straight", "promote").space)
    mute.times = 99
    assert mute.session()
    found = [(t.number, t.reason) for t in mute.trials() if t.state == "failed"]
    assert found == [(2, "its process ended 3 times and did not say why")]
    assert all(t.ended for t in mute.trials())


@pytest.mark.parametrize("line", [5, 20, 40, 60])
def test_hyperband_goes_on_with_a_smaller_budget(line: int, tmp_path: Path) -> None:
    play = searched(tmp_path, "hyperband", trials=10, concurrent=3)
    assert not play.session(die_before=line)
    play.space = replace(play.space, budget=Budget(trials=5, concurrent=3))
    assert play.session()
    assert all(t.ended for t in play.trials())
