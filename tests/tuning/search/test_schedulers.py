"""What follows from a report: what a search decides, and what its ledger says of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tuning.ledger_lines import read_lines, without_checksums
from tests.tuning.lr_space import METRIC, kill, lr_space, open_ledger, report
from tuning.ledger.events import Proposed
from tuning.ledger.failures import Failure
from tuning.ledger.ledger import Ledger
from tuning.ledger.records import RungEntry
from tuning.search.decisions import Decision, Start
from tuning.search.halving import RungScheduler
from tuning.search.search import Search

GO_ON, STOP, FINISH, FAIL = Decision.GO_ON, Decision.STOP, Decision.FINISH, Decision.FAIL


class Play:
    """One experiment's search, told by hand what its trials report."""

    def __init__(self, folder: Path, **sections: dict[str, Any]) -> None:
        self.space = lr_space(folder, **sections)
        self.ledger: Ledger = open_ledger(folder)
        self.search = Search(self.space, self.ledger)

    def propose(self, count: int) -> None:
        for number in range(len(self.ledger.trials), count):
            self.ledger.append(Proposed(number, params={}))
            self.search.started(number)

    def tell(
        self, number: int, epoch: int, value: float, restored: bool = False, **more: float
    ) -> Decision:
        self.propose(number + 1)
        return self.search.report(number, report(epoch, value, **more), restored=restored)

    def at(self, level: int) -> list[RungEntry]:
        """Who was compared there, best first."""
        assert isinstance(self.search.scheduler, RungScheduler)
        entries = self.search.scheduler.table.rungs[level].entries.values()
        return sorted(entries, key=lambda entry: (entry.score, entry.trial))

    def state(self, number: int) -> str:
        return self.ledger.trials[number].state


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Play]:
    found = Play(tmp_path)
    yield found
    found.ledger.close()


def test_asha_stops_the_worse_at_a_rung_and_says_which(play: Play) -> None:
    assert [play.tell(number, 1, value) for number, value in ((1, 2.0), (2, 1.0), (3, 3.0))] == [
        GO_ON,
        GO_ON,
        STOP,
    ]
    stopped = play.ledger.trials[3]
    assert (stopped.state, stopped.rung_stopped_at) == ("stopped", 1)
    assert stopped.reason == "rank 3 of 3"
    assert play.tell(1, 2, 9.0) is GO_ON  # no rung there


def test_the_prior_is_never_stopped(play: Play) -> None:
    for number in (1, 2, 3):
        play.tell(number, 1, 1.0)
    assert [play.tell(0, epoch, 100.0) for epoch in range(1, 9)] == [GO_ON] * 8
    assert play.tell(0, 9, 100.0) is FINISH
    assert play.state(0) == "finished"


def test_a_trial_finishes_at_the_maximum(play: Play) -> None:
    decisions = [play.tell(1, epoch, 1.0) for epoch in range(1, 10)]
    assert decisions == [GO_ON] * 8 + [FINISH]
    assert play.state(1) == "finished"


def test_larger_is_better_where_the_mode_says_so(tmp_path: Path) -> None:
    play = Play(tmp_path, objective={"metric": "val_psnr", "mode": "max"})
    for number, psnr in ((1, 30.0), (2, 31.0)):
        play.tell(number, 1, 1.0, val_psnr=psnr)
    assert play.tell(3, 1, 1.0, val_psnr=29.0) is STOP
    assert play.tell(4, 1, 1.0, val_psnr=32.0) is GO_ON
    play.ledger.close()


def test_fifo_stops_nobody_early(tmp_path: Path) -> None:
    play = Play(tmp_path, scheduler={"name": "fifo"})
    decisions = {play.tell(n, epoch, float(n)) for n in range(6) for epoch in range(1, 9)}
    assert decisions == {GO_ON}
    assert play.tell(5, 9, 1.0) is FINISH
    play.ledger.close()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["asha", "fifo"])
def test_a_score_that_is_not_finite_ends_the_trial(tmp_path: Path, name: str, value: float) -> None:
    """Stock Ray's ASHA lets NaN pass for ever."""
    play = Play(tmp_path, scheduler={"name": name})
    assert play.tell(1, 2, value) is FAIL
    trial = play.ledger.trials[1]
    assert (trial.state, trial.diverged) == ("failed", True)
    assert trial.reason == f"{METRIC} is {value} at epoch 2"
    assert play.tell(2, 2, 1.0) is GO_ON  # and no other
    play.ledger.close()


@pytest.mark.parametrize(("epoch", "decision"), [(2, GO_ON), (3, FAIL), (9, FAIL)])
def test_a_score_may_be_absent_only_where_nothing_is_compared(
    play: Play, epoch: int, decision: Decision
) -> None:
    play.propose(2)
    assert play.search.report(1, {"epoch": float(epoch), "train/loss": 1.0}) is decision
    failed = "failed" if decision is FAIL else "running"
    assert (play.state(1), play.ledger.trials[1].diverged) == (failed, False)


def test_what_a_trial_says_of_its_own_end_is_kept(play: Play) -> None:
    play.propose(3)
    assert play.search.gave_up(1, "diverged: loss is inf", diverged=True) is FAIL
    trial = play.ledger.trials[1]
    assert (trial.reason, trial.diverged) == ("diverged: loss is inf", True)
    play.search.suspended(2)
    assert play.state(2) == "pending"


def test_late_scores_never_reach_a_lower_rung(play: Play) -> None:
    """Stock Ray fills the rung of epoch 1 with a late score after a restore (ray#30838)."""
    play.tell(1, 8, 0.1)  # reports that start late, as of a trial with a sparse validation
    assert play.at(1) == []
    assert [entry.trial for entry in play.at(3)] == [1]


def test_a_restarted_driver_decides_as_the_killed_one_would_have(tmp_path: Path) -> None:
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    found = [(n, e, 1.0 + (n * 7 % 5) + 1 / e) for n in range(1, 8) for e in (1, 2, 3)]
    decisions: dict[Path, list[Decision]] = {}
    for folder in (straight, broken):
        folder.mkdir()
        play, given = Play(folder), []
        for index, (number, epoch, value) in enumerate(found):
            if folder is broken and index % 4 == 3:  # killed: the ledger's file is all that is left
                kill(play.ledger)
                play = Play(folder)
            given.append(play.tell(number, epoch, value))
        decisions[folder] = given
        play.ledger.close()
    assert decisions[straight] == decisions[broken]
    assert STOP in decisions[straight]


def test_an_epoch_told_again_after_a_restore_counts_once(play: Play) -> None:
    play.tell(1, 1, 2.0)
    play.tell(2, 1, 2.0)
    assert play.tell(3, 1, 9.0) is STOP
    before = len(list(read_lines(play.ledger.path.parent)))
    assert play.tell(3, 1, 9.0, restored=True) is STOP  # killed before the stop was carried out
    assert [entry.trial for entry in play.at(1)] == [1, 2, 3]
    added = [e["event"] for e in list(read_lines(play.ledger.path.parent))[before:]]
    assert added == ["stopped"]


def test_a_report_lost_with_the_driver_is_made_good_by_the_checkpoint(play: Play) -> None:
    """Saved at epoch 3, then the driver died: the trial says epoch 3 again before it goes on."""
    play.tell(1, 1, 1.0)
    assert play.tell(1, 3, 0.5, restored=True) is GO_ON
    assert [entry.score for entry in play.at(3)] == [0.5]
    assert play.ledger.trials[1].curve(METRIC) == {1: 1.0, 3: 0.5}


def test_a_trial_whose_process_breaks_is_the_next_to_start(play: Play) -> None:
    """More of it: tests/tuning/on_ray/test_recovery.py."""
    play.propose(2)
    broken = Failure("exception", "RuntimeError: a cosmic ray")
    assert play.search.broke(1, broken).restarts
    trial = play.ledger.trials[1]
    assert (trial.state, trial.reason) == ("pending", "RuntimeError: a cosmic ray")
    start = play.search.next()
    assert isinstance(start, Start)
    assert start.trial == 1
    play.search.started(1)
    assert not play.search.broke(1, broken).restarts
    assert trial.state == "failed"
    assert str(trial.reason).startswith("the same error twice, not tried again: RuntimeError: a")


@pytest.mark.parametrize(("name", "fate"), [("asha", "stopped"), ("promote", "paused")])
def test_a_decision_without_its_effect_is_carried_out_at_the_next_start(
    tmp_path: Path, name: str, fate: str
) -> None:
    """The driver died between the two lines; a trial that waits unseen would hold up the search."""
    section = {"name": name, "pilots": 0} | ({"control": 0.0} if name == "promote" else {})
    play = Play(tmp_path, scheduler=section)
    for number, value in ((1, 1.0), (2, 2.0), (3, 3.0)):
        play.tell(number, 1, value)
    kill(play.ledger)
    path = play.ledger.path
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]) + lines[-1][:9])
    again = Play(tmp_path, scheduler=section)
    assert [e["event"] for e in read_lines(path.parent)][-3:] == ["decision", "opened", fate]
    assert str(again.ledger.trials[3].reason).startswith("rank 3 of 3")
    again.ledger.close()


def test_rungs_of_an_older_experiment_are_in_its_ledger(tmp_path: Path) -> None:
    """It kept them in a file beside it, and repeated a decision after a resume."""
    play = Play(tmp_path)
    for number, value in ((1, 1.0), (2, 2.0), (3, 3.0)):
        play.tell(number, 1, value)
    kill(play.ledger)
    path = play.ledger.path
    lines = without_checksums(path.parent)
    path.write_bytes(b"".join([*lines, lines[-2], lines[-1]]))
    (path.parent / "rungs.json").write_text("{")  # nobody reads it
    again = Play(tmp_path)
    assert again.at(1) == play.at(1)
    assert again.tell(4, 1, 4.0) is STOP
    assert again.ledger.trials[4].reason == "rank 4 of 4"
    again.ledger.close()
