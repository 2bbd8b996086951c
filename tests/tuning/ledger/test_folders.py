"""Where experiments live: names, what may be resumed, and one driver at a time."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpcm import ConfigError
from hpcm.schema import to_plain
from tests.tuning.lr_space import lr_space
from tuning.ledger import driver_lock, folders
from tuning.ledger.driver_lock import LOCK_FILE, driving, this_process
from tuning.ledger.ledger import Ledger
from tuning.spaces import defaults


def make(folder: Path, name: str, space: Any, used: float) -> Path:
    directory = folder / name
    folders.write_experiment(directory, space, git_commit="abc")
    ledger = directory / "ledger.jsonl"
    ledger.touch()
    os.utime(ledger, (used, used))
    return directory


def test_names_say_space_and_time_and_are_unique(tmp_path: Path) -> None:
    space = lr_space(tmp_path)
    first = folders.new_name(space, tmp_path)
    (tmp_path / first).mkdir()
    second = folders.new_name(space, tmp_path)
    assert first.startswith("rates-20")
    assert second != first


def test_an_experiment_is_found_by_name_or_as_the_last(tmp_path: Path) -> None:
    space = lr_space(tmp_path)
    make(tmp_path, "rates-2", space, used=200.0)
    make(tmp_path, "rates-1", space, used=300.0)
    assert folders.experiments(tmp_path) == ["rates-2", "rates-1"]
    assert folders.find(tmp_path, "rates-2").name == "rates-2"
    assert folders.find(tmp_path, "last").name == "rates-1"
    assert folders.find(tmp_path, "last", "rates").name == "rates-1"
    assert folders.read_experiment(tmp_path / "rates-1") == space
    assert folders.read_provenance(tmp_path / "rates-1")["git_commit"] == "abc"


@pytest.mark.parametrize(
    ("name", "space", "message"),
    [
        ("rate-1", None, "no such experiment in .*Did you mean 'rates-1'"),
        ("last", "phase3", "--resume last: no experiment of phase3 in"),
    ],
)
def test_an_unknown_experiment_is_refused(
    tmp_path: Path, name: str, space: str | None, message: str
) -> None:
    make(tmp_path, "rates-1", lr_space(tmp_path), used=1.0)
    with pytest.raises(ConfigError, match=message):
        folders.find(tmp_path, name, space)


def test_an_older_experiment_that_is_damaged_is_in_nobodys_way(tmp_path: Path) -> None:
    space = lr_space(tmp_path)
    make(tmp_path, "rates-1", space, used=100.0)
    make(tmp_path, "rates-2", space, used=200.0)
    (tmp_path / "rates-1" / folders.EXPERIMENT_FILE).write_text("{")
    assert folders.find(tmp_path, "last").name == "rates-2"
    assert folders.find(tmp_path, "last", "rates").name == "rates-2"
    with pytest.raises(ConfigError, match=r"rates-1/experiment\.json: not the record of an"):
        folders.find(tmp_path, "last", "phase3")


@pytest.mark.parametrize(
    "change",
    [
        lambda record: [],
        lambda record: {},
        lambda record: {"space": 3},
        lambda record: {"space": {k: v for k, v in record["space"].items() if k != "name"}},
        lambda record: {"space": record["space"] | {"parameters": 3}},
        lambda record: {"space": record["space"] | {"parameters": [{"path": "seed"}]}},
        lambda record: {"space": record["space"] | {"profiles": 3}},
    ],
)
def test_a_record_that_is_none_is_refused(tmp_path: Path, change: Callable[[Any], Any]) -> None:
    directory = make(tmp_path, "rates-1", lr_space(tmp_path), used=1.0)
    path = directory / folders.EXPERIMENT_FILE
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(ConfigError, match=r"experiment\.json: not the record of an experiment: "):
        folders.read_experiment(directory)


def test_an_empty_storage_says_so(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match="--resume x: no such experiment in .*holds no experiment"
    ):
        folders.find(tmp_path, "x")
    with pytest.raises(ConfigError, match="--resume last: no experiment in"):
        folders.find(tmp_path, "last")


def test_a_changed_space_is_refused_with_what_differs(tmp_path: Path) -> None:
    old = lr_space(tmp_path)
    new = lr_space(tmp_path, fidelity={"max": 27}, budget={"trials": 30})
    with pytest.raises(ConfigError, match=r"fidelity.max: 9 -> 27") as caught:
        folders.refuse_changes(old, new, "rates-1")
    assert "budget" not in str(caught.value)


def test_a_larger_budget_is_welcome(tmp_path: Path) -> None:
    more = lr_space(tmp_path, budget={"trials": 30, "hours": 2.0})
    folders.refuse_changes(lr_space(tmp_path), more, "rates-1")


def test_the_folder_need_not_exist_but_must_be_writable(tmp_path: Path) -> None:
    assert folders.storage_folder(str(tmp_path / "a" / "b")) == tmp_path / "a" / "b"
    assert not (tmp_path / "a").exists()
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="file is a file"):
        folders.storage_folder(str(tmp_path / "file" / "below"))
    with pytest.raises(ConfigError, match="/proc cannot be written to"):
        folders.storage_folder("/proc/hpcm-tune")
    with pytest.raises(ConfigError, match="a URL"):
        folders.storage_folder("s3://bucket/x")
    assert folders.storage_folder("/proc", write=False) == Path("/proc")  # to look is enough


def test_fewer_trials_than_there_are_is_refused(tmp_path: Path) -> None:
    space = lr_space(tmp_path, budget={"trials": 2})
    directory = make(tmp_path, "rates-1", space, used=1.0)
    with (directory / "ledger.jsonl").open("a") as file:
        for number in range(3):
            line = {"event": "proposed", "time": 1.0, "trial": number, "params": {}}
            file.write(json.dumps(line) + "\n")
    with pytest.raises(ConfigError, match="budget.trials is 2, but 3 trials were proposed already"):
        folders.refuse_smaller_budget(Ledger(directory), space)
    folders.refuse_smaller_budget(Ledger(directory), lr_space(tmp_path, budget={"trials": 3}))


@pytest.mark.parametrize("content", [None, b"", b'{"event": "opened", "ti'])
def test_an_experiment_that_lost_its_ledger_does_not_start_over(
    tmp_path: Path, content: bytes | None
) -> None:
    directory = make(tmp_path, "rates-1", lr_space(tmp_path), used=1.0)
    ledger = directory / "ledger.jsonl"
    ledger.unlink()
    if content is not None:
        ledger.write_bytes(content)
    folders.refuse_lost_ledger(directory)  # killed before its first line: nothing was tried
    (directory / "checkpoints" / "rates-0003").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"rates-1: its ledger\.jsonl is .*\(rates-0003, \.\.\)"):
        folders.refuse_lost_ledger(directory)
    ledger.write_text('{"event": "opened", "time": 1.0}\n')
    folders.refuse_lost_ledger(directory)


def test_a_home_is_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert folders.storage_folder(defaults.STORAGE) == tmp_path / "hpcm-tune"


def test_a_second_driver_is_refused_by_name(tmp_path: Path) -> None:
    who = f"process {os.getpid()} on {socket.gethostname()}"
    with driving(tmp_path), pytest.raises(ConfigError, match=who), driving(tmp_path):
        pass
    with driving(tmp_path):  # free again
        pass


def test_the_lock_of_a_killed_driver_is_free(tmp_path: Path) -> None:
    child = _hold(tmp_path, _drive_for_ever)
    with pytest.raises(ConfigError, match=f"process {child.pid} on"), driving(tmp_path):
        pass
    child.kill()
    child.join()
    with driving(tmp_path):
        owner = json.loads((tmp_path / LOCK_FILE).read_text())
    assert owner["pid"] == os.getpid()


def test_without_locks_a_dead_owner_is_told_from_a_live_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: Any) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(driver_lock.fcntl, "flock", no_locks)
    lock = tmp_path / LOCK_FILE
    myself = to_plain(this_process(tmp_path))
    for owner, free in (
        ({**myself, "created": 1.0}, True),  # the number was given to another process since
        (myself, False),
        ({**myself, "host": "elsewhere"}, False),
    ):
        lock.write_text(json.dumps(owner))
        if free:
            with driving(tmp_path):
                pass
        else:
            with pytest.raises(ConfigError, match="runs this experiment"), driving(tmp_path):
                pass


def _drive_for_ever(folder: Path, ready: Any) -> None:
    with driving(folder):
        ready.set()
        multiprocessing.Event().wait()


def _hold(folder: Path, target: Callable[..., None]) -> Any:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    child = context.Process(target=target, args=(folder, ready), daemon=True)
    child.start()
    assert ready.wait(60)
    return child
