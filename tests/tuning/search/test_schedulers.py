"""Schedulers fed with results, without Ray: what they decide and what the ledger says of it."""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.tuning.ledger_lines import read_lines
from tests.tuning.lr_space import METRIC, kill, lr_space, open_ledger, ray_trial, report
from tuning.ledger.events import Proposed, Started
from tuning.ledger.ledger import Ledger
from tuning.search.schedulers import EpochScheduler, build_scheduler, metrics_of


class Play:
    """One experiment's scheduler, and trials that report to it."""

    def __init__(self, folder: Path, **sections: dict[str, Any]) -> None:
        self.space = lr_space(folder, **sections)
        self.ledger: Ledger = open_ledger(folder)
        self.scheduler: EpochScheduler = build_scheduler(self.space, self.ledger)

    def propose(self, count: int) -> None:
        for number in range(len(self.ledger.trials), count):
            self.ledger.append(Proposed(number, params={}))
            self.ledger.append(Started(number))

    def tell(self, number: int, epoch: int, value: float, **more: Any) -> str:
        self.propose(number + 1)
        result = report(epoch, value, **more)
        return self.scheduler.on_trial_result(None, ray_trial(number), result)

    def state(self, number: int) -> str:
        return self.ledger.trials[number].state


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Play]:
    found = Play(tmp_path)
    yield found
    found.ledger.close()


def test_asha_stops_the_worse_at_a_rung_and_says_which(play: Play) -> None:
    assert [play.tell(number, 1, value) for number, value in ((1, 2.0), (2, 1.0), (3, 3.0))] == [
        "CONTINUE",
        "CONTINUE",
        "STOP",
    ]
    stopped = play.ledger.trials[3]
    assert (stopped.state, stopped.rung_stopped_at) == ("stopped", 1)
    assert stopped.reason == "rank 3 of 3"
    assert play.tell(1, 2, 9.0) == "CONTINUE"  # no rung there


def test_the_prior_is_never_stopped(play: Play) -> None:
    for number in (1, 2, 3):
        play.tell(number, 1, 1.0)
    assert [play.tell(0, epoch, 100.0) for epoch in range(1, 9)] == ["CONTINUE"] * 8
    assert play.tell(0, 9, 100.0) == "STOP"
    assert play.state(0) == "finished"


def test_a_trial_finishes_at_the_maximum(play: Play) -> None:
    decisions = [play.tell(1, epoch, 1.0) for epoch in range(1, 10)]
    assert decisions == ["CONTINUE"] * 8 + ["STOP"]
    assert play.state(1) == "finished"


def test_larger_is_better_where_the_mode_says_so(tmp_path: Path) -> None:
    play = Play(tmp_path, objective={"metric": "val_psnr", "mode": "max"})
    for number, psnr in ((1, 30.0), (2, 31.0)):
        play.tell(number, 1, 1.0, val_psnr=psnr)
    assert play.tell(3, 1, 1.0, val_psnr=29.0) == "STOP"
    assert play.tell(4, 1, 1.0, val_psnr=32.0) == "CONTINUE"
    play.ledger.close()


def test_fifo_stops_nobody_early(tmp_path: Path) -> None:
    play = Play(tmp_path, scheduler={"name": "fifo"})
    decisions = {play.tell(n, epoch, float(n)) for n in range(6) for epoch in range(1, 9)}
    assert decisions == {"CONTINUE"}
    assert play.tell(5, 9, 1.0) == "STOP"
    play.ledger.close()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["asha", "fifo"])
def test_a_score_that_is_not_finite_ends_the_trial(tmp_path: Path, name: str, value: float) -> None:
    """Stock Ray's ASHA lets NaN pass for ever."""
    play = Play(tmp_path, scheduler={"name": name})
    assert play.tell(1, 2, value) == "STOP"
    trial = play.ledger.trials[1]
    assert (trial.state, trial.diverged) == ("failed", True)
    assert trial.reason == f"{METRIC} is {value} at epoch 2"
    assert play.tell(2, 2, 1.0) == "CONTINUE"  # and no other
    play.ledger.close()


@pytest.mark.parametrize(("epoch", "decision"), [(2, "CONTINUE"), (3, "STOP"), (9, "STOP")])
def test_a_score_may_be_absent_only_where_nothing_is_compared(
    play: Play, epoch: int, decision: str
) -> None:
    play.propose(2)
    result = {"epoch": float(epoch), "train/loss": 1.0}
    assert play.scheduler.on_trial_result(None, ray_trial(1), result) == decision
    failed = "failed" if decision == "STOP" else "running"
    assert (play.state(1), play.ledger.trials[1].diverged) == (failed, False)


def test_what_a_trial_says_of_its_own_end_is_kept(play: Play) -> None:
    play.propose(3)
    told = {"failed": "diverged: loss is inf", "diverged": True}
    assert play.scheduler.on_trial_result(None, ray_trial(1), told) == "STOP"
    assert play.ledger.trials[1].reason == "diverged: loss is inf"
    assert play.scheduler.on_trial_result(None, ray_trial(2), {"suspended": True}) == "STOP"
    assert play.state(2) == "pending"


def test_late_scores_never_reach_a_lower_rung(play: Play) -> None:
    """Stock Ray fills the rung of epoch 1 with a late score after a restore (ray#30838)."""
    play.tell(1, 8, 0.1)  # reports that start late, as of a trial with a sparse validation
    table = play.scheduler.table  # type: ignore[attr-defined]
    assert table.at(1) == []
    assert [entry.trial for entry in table.at(3)] == [1]


def test_a_restarted_driver_decides_as_the_killed_one_would_have(tmp_path: Path) -> None:
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    told = [(n, e, 1.0 + (n * 7 % 5) + 1 / e) for n in range(1, 8) for e in (1, 2, 3)]
    decisions: dict[Path, list[str]] = {}
    for folder in (straight, broken):
        folder.mkdir()
        play, given = Play(folder), []
        for index, (number, epoch, value) in enumerate(told):
            if folder is broken and index % 4 == 3:  # killed: the ledger's file is all that is left
                kill(play.ledger)
                play = Play(folder)
            given.append(play.tell(number, epoch, value))
        decisions[folder] = given
        play.ledger.close()
    assert decisions[straight] == decisions[broken]
    assert "STOP" in decisions[straight]


def test_an_epoch_told_again_after_a_restore_counts_once(play: Play) -> None:
    play.tell(1, 1, 2.0)
    play.tell(2, 1, 2.0)
    assert play.tell(3, 1, 9.0) == "STOP"
    before = len(list(read_lines(play.ledger.path.parent)))
    assert play.tell(3, 1, 9.0, restored=True) == "STOP"  # killed before the stop was carried out
    assert [entry.trial for entry in play.scheduler.table.at(1)] == [1, 2, 3]  # type: ignore[attr-defined]
    added = [e["event"] for e in list(read_lines(play.ledger.path.parent))[before:]]
    assert added == ["stopped"]


def test_a_report_lost_with_the_driver_is_made_good_by_the_checkpoint(play: Play) -> None:
    """Saved at epoch 3, then the driver died: the trial says epoch 3 again before it goes on."""
    play.tell(1, 1, 1.0)
    assert play.tell(1, 3, 0.5, restored=True) == "CONTINUE"
    assert [entry.score for entry in play.scheduler.table.at(3)] == [0.5]  # type: ignore[attr-defined]
    assert play.ledger.trials[1].curve(METRIC) == {1: 1.0, 3: 0.5}


def test_a_crash_is_noted_and_the_trial_added_again(play: Play, tmp_path: Path) -> None:
    """What becomes of it: tests/tuning/on_ray/test_recovery.py."""
    play.propose(2)
    error = tmp_path / "error.pkl"
    error.write_bytes(pickle.dumps(RuntimeError("a cosmic\n ray")))
    trial = SimpleNamespace(
        config={"trial": 1},
        should_recover=lambda: True,
        pickled_error_file=str(error),
        error_file="error.txt",
    )
    play.scheduler.on_trial_error(None, trial)
    record = play.ledger.trials[1]
    assert (record.state, record.reason) == ("pending", "RuntimeError: a cosmic ray")
    play.scheduler.on_trial_add(None, trial)
    for _ in range(2):
        play.scheduler.on_trial_error(None, trial)
    stopped: list[object] = []
    play.scheduler.on_trial_add(SimpleNamespace(stop_trial=stopped.append), trial)
    assert (record.state, stopped) == ("failed", [trial])


def test_metrics_are_what_the_trial_said() -> None:
    result = report(3, 1.5, done=False, **{"config/optimizer.lr": 1e-4, "train/loss": 2, "x": "y"})
    assert metrics_of(result) == {"epoch": 3.0, METRIC: 1.5, "train/loss": 2.0}


@pytest.mark.parametrize(("name", "fate"), [("asha", "stopped"), ("promote", "paused")])
def test_a_decision_without_its_effect_is_carried_out_at_the_next_start(
    tmp_path: Path, name: str, fate: str
) -> None:
    """The driver died between the two lines; a trial that waits unseen would hold up the search."""
    section = {"name": name, "control": 0.0} if name == "promote" else {"name": name}
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
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines, lines[-2], lines[-1]]))
    (path.parent / "rungs.json").write_text("{")  # nobody reads it
    again = Play(tmp_path)
    assert again.scheduler.table.at(1) == play.scheduler.table.at(1)  # type: ignore[attr-defined]
    assert again.tell(4, 1, 4.0) == "STOP"
    assert again.ledger.trials[4].reason == "rank 4 of 4"
    again.ledger.close()
