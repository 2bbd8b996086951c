"""How many checkpoints are kept: what goes on keeps its last, and the bound holds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hpcm import ConfigError
from tests.tuning.lr_space import METRIC, kill, lr_space, open_ledger
from tuning.checkpoints import retention as module
from tuning.checkpoints.retention import most_checkpoints, retention
from tuning.checkpoints.store import CheckpointStore
from tuning.ledger.events import (
    Event,
    Failed,
    Finished,
    Paused,
    Proposed,
    Report,
    Started,
    Stopped,
    Suspended,
)
from tuning.ledger.folders import write_experiment
from tuning.ledger.ledger import Ledger
from tuning.ledger.notices import Notices
from tuning.spaces.space import SearchSpace


def stores(folder: Path) -> Any:
    return lambda number: CheckpointStore(folder / "rates-x", f"rates-{number:04d}")


def play(
    ledger: Ledger, folder: Path, number: int, end: Callable[[int], Event] | None = Finished
) -> None:
    """A trial of three epochs, all saved, and what became of it; None: it runs on."""
    ledger.append(Proposed(number, params={}))
    ledger.append(Started(number))
    store = stores(folder)(number)
    for epoch in (1, 2, 3):
        metrics = {"epoch": float(epoch), METRIC: 1.0}
        ledger.append(Report(number, metrics=metrics))
        store.save(epoch, metrics, lambda directory: None)
    if end is not None:
        ledger.append(end(number))


def saved(folder: Path, number: int) -> list[int]:
    return [int(name[-6:]) for name in stores(folder)(number).folder.names()]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    found = open_ledger(tmp_path)
    yield found
    kill(found)


def space_of(folder: Path, scheduler: str) -> SearchSpace:
    if scheduler in ("asha", "promote"):
        return lr_space(folder, scheduler={"name": scheduler})
    return lr_space(folder, scheduler={"name": scheduler, "reduction_factor": 3})


@pytest.mark.parametrize(("scheduler", "lost"), [("asha", []), ("promote", [3]), ("hyperband", [])])
def test_what_can_go_on_keeps_its_last(
    tmp_path: Path, ledger: Ledger, scheduler: str, lost: list[int]
) -> None:
    messages: list[str] = []
    notices = Notices(messages.append)
    with retention(ledger, space_of(tmp_path, scheduler), stores(tmp_path), notices):
        play(ledger, tmp_path, 0, None)
        play(ledger, tmp_path, 1)
        play(ledger, tmp_path, 2, partial(Stopped, rung=3, reason="rank 3 of 3"))
        play(ledger, tmp_path, 3, partial(Stopped, reason="the 2 hours are spent"))
        play(ledger, tmp_path, 4, partial(Paused, reason="rank 3 of 3 at epoch 3"))
        play(ledger, tmp_path, 5, partial(Failed, reason="crashed"))
        play(ledger, tmp_path, 6, Suspended)
    found = [saved(tmp_path, number) for number in range(7)]
    assert found == [[2, 3], [3], lost, [3], [3], [3], [2, 3]]
    notices.hand_on()
    assert messages == []


def test_what_a_killed_driver_left_is_removed_at_the_next_start(
    tmp_path: Path, ledger: Ledger
) -> None:
    play(ledger, tmp_path, 0)
    assert saved(tmp_path, 0) == [2, 3]
    with retention(ledger, lr_space(tmp_path), stores(tmp_path), Notices()):
        pass
    assert saved(tmp_path, 0) == [3]


def test_a_place_that_fails_is_told_once(tmp_path: Path, ledger: Ledger) -> None:
    messages: list[str] = []
    notices = Notices(messages.append)

    def broken(number: int) -> CheckpointStore:
        raise OSError("stale file handle")

    with retention(ledger, lr_space(tmp_path), broken, notices):
        play(ledger, tmp_path, 0)
        play(ledger, tmp_path, 1)
    notices.hand_on()
    assert messages == ["old checkpoints of trial 0 are not removed: stale file handle"]


def test_a_place_that_answers_again_is_tidied(
    tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without another word of those trials; and a second outage is told like the first."""
    monkeypatch.setattr(module, "RETRY_EVERY", 0.02)
    messages: list[str] = []
    notices, away = Notices(messages.append), [True]

    def flaky(number: int) -> CheckpointStore:
        if away[0]:
            raise OSError("stale file handle")
        found: CheckpointStore = stores(tmp_path)(number)
        return found

    def until(numbers: list[int], count: int) -> None:
        while any(len(saved(tmp_path, number)) != count for number in numbers):
            time.sleep(0.01)

    with retention(ledger, lr_space(tmp_path), flaky, notices):
        play(ledger, tmp_path, 0)
        play(ledger, tmp_path, 1)
        time.sleep(0.2)
        assert [len(saved(tmp_path, number)) for number in (0, 1)] == [2, 2]
        away[0] = False
        until([0, 1], 1)
        time.sleep(0.1)
        away[0] = True
        play(ledger, tmp_path, 2)
        time.sleep(0.1)
        away[0] = False
        until([2], 1)
    notices.hand_on()
    message = "old checkpoints of trial {} are not removed: stale file handle"
    assert messages == [message.format(0), message.format(2)]


def test_an_experiment_that_was_renamed_misses_its_checkpoints(
    tmp_path: Path, ledger: Ledger
) -> None:
    """All of its unfinished trials would start again, without a word."""
    directory, space, place = tmp_path / "rates-x", lr_space(tmp_path), str(tmp_path / "place")
    retention_of = partial(module.refuse_lost, directory, space)
    write_experiment(directory, space, experiment="rates-x")
    retention_of(place)  # killed before there was anything to save
    play(ledger, tmp_path, 0)
    retention_of(place)
    play(ledger, tmp_path, 1, None)
    retention_of(None)
    with pytest.raises(ConfigError, match="place has no folder rates-x, where .* 1 unfinished"):
        retention_of(place)
    (tmp_path / "place" / "rates-x").mkdir(parents=True)
    retention_of(place)


def test_a_renamed_one_that_was_saved_between_rungs_misses_its_checkpoints_too(
    tmp_path: Path, ledger: Ledger
) -> None:
    directory, space = tmp_path / "rates-x", lr_space(tmp_path, scheduler={"name": "fifo"})
    play(ledger, tmp_path, 0, Suspended)  # at epoch 3 of 9; the only rung is the last epoch
    write_experiment(directory, space, experiment="rates-x")
    module.refuse_lost(directory, space, str(tmp_path / "place"))  # it may not have been saved yet
    write_experiment(directory, space, experiment="rates-before")
    with pytest.raises(ConfigError, match="rates-x: .*place has no folder rates-x"):
        module.refuse_lost(directory, space, str(tmp_path / "place"))


def test_the_bound(tmp_path: Path) -> None:
    space = lr_space(tmp_path, budget={"trials": 32, "concurrent": 4})
    assert most_checkpoints(space) == 40
    assert most_checkpoints(space, at_a_time=2) == 36
    assert most_checkpoints(space) == 40
    assert most_checkpoints(lr_space(tmp_path, budget={"trials": 2, "concurrent": None})) == 6
