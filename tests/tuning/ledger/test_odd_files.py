"""Files of an experiment that are something else: refused in words by all who read them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpcm import ConfigError
from tests.tuning.lr_space import kill, lr_space, open_ledger
from tuning import cli
from tuning.__main__ import main
from tuning.ledger import folders
from tuning.ledger.driver_lock import LOCK_FILE, driver_of, driving
from tuning.ledger.events import Proposed
from tuning.ledger.folders import EXPERIMENT_FILE
from tuning.ledger.ledger import LEDGER_FILE, Ledger, read_events
from tuning.search.warm_start import WARM_START_FILE, evidence_in

DEEP = "[" * 5000 + "]" * 5000
ODD = {
    "folder": Path.mkdir,
    "pipe": os.mkfifo,
    "circle": lambda path: path.symlink_to(path),
    "deep": lambda path: path.write_text(DEEP),
    "bytes": lambda path: path.write_bytes(b"\xff\xfe"),
}
COMMANDS = ("status", "trials", "export", "serve")
odd = pytest.mark.parametrize("make", ODD.values(), ids=ODD)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """An experiment of one trial that was proposed."""
    space = lr_space(tmp_path)
    folders.write_experiment(tmp_path / "rates-1", space, experiment="rates-1", overrides=[])
    ledger = open_ledger(tmp_path / "rates-1")
    ledger.append(Proposed(0, {"optimizer.lr": 1e-4}, "prior"))
    ledger.close()
    return tmp_path / "rates-1"


def put(path: Path, make: Callable[[Path], Any]) -> None:
    path.unlink(missing_ok=True)
    make(path)


@pytest.mark.parametrize("name", [EXPERIMENT_FILE, LEDGER_FILE])
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, ODD["circle"]])
def test_a_resume(
    capsys: pytest.CaptureFixture[str], directory: Path, name: str, make: Callable[[Path], Any]
) -> None:
    put(directory / name, make)
    assert cli.main(["--resume", "rates-1", "--storage", str(directory.parent)]) == 2
    printed = capsys.readouterr().err
    assert name in printed or "no such experiment" in printed
    assert "Traceback" not in printed


def refused(capsys: pytest.CaptureFixture[str], directory: Path, name: str) -> None:
    """All commands end with one message that names the file."""
    for command in COMMANDS:
        assert main([command, "rates-1", "--storage", str(directory.parent)]) == 2, command
        printed = capsys.readouterr().err
        assert name in printed, command
        assert "Traceback" not in printed
        assert len(printed) < 1000


@odd
def test_a_ledger(
    capsys: pytest.CaptureFixture[str], directory: Path, make: Callable[[Path], Any]
) -> None:
    ledger = directory / LEDGER_FILE
    put(ledger, make)
    if ledger.is_file():
        with ledger.open("ab") as file:
            file.write(b"\n")  # a whole line
    refused(capsys, directory, f"{LEDGER_FILE}: ")
    with pytest.raises(ConfigError, match=LEDGER_FILE):
        list(read_events(directory))
    copy = directory / "copy"
    if ledger.is_file():
        assert main(["salvage", str(ledger), "-o", str(copy)]) == 0
        assert "0 of 1 lines" in capsys.readouterr().out
    else:
        assert main(["salvage", str(ledger), "-o", str(copy)]) == 2
        assert not copy.exists()
        with pytest.raises(ConfigError, match=LEDGER_FILE):
            folders.refuse_lost_ledger(directory)


@pytest.mark.parametrize(
    "line",
    [
        '{"event": "report", "time": 1, "trial": 0, "metrics": {"epoch": 1%s}}' % ("0" * 400),
        '{"event": "report", "time": 1, "trial": 0, "metrics": {"epoch": Infinity}}',
        '{"event": "report", "time": 1, "trial": 0, "metrics": {"epoch": NaN}}',
        '{"event": "report", "time": 1%s, "trial": 0, "metrics": {"epoch": 1}}' % ("0" * 400),
        '{"event": "proposed", "time": 1, "trial": 1, "params": null, "source": "prior"}',
        f'{{"event": "proposed", "time": 1, "trial": 1, "params": {DEEP}, "source": "prior"}}',
        '{"event": "started", "time": 1, "trial": -1}',
        '{"event": "started", "time": 1, "trial": Infinity}',
    ],
)
def test_a_line_of_an_old_ledger(directory: Path, line: str) -> None:
    proposed = '{"event": "proposed", "time": 1, "trial": 0, "params": {}, "source": "prior"}'
    (directory / LEDGER_FILE).write_text(f"{proposed}\n{line}\n")
    with pytest.raises(ConfigError, match=r"ledger\.jsonl: line 2 is damaged"):
        Ledger(directory)
    with pytest.raises(ConfigError, match=r"ledger\.jsonl: line 2 is damaged"):
        list(read_events(directory))


@odd
def test_a_record(
    capsys: pytest.CaptureFixture[str], directory: Path, make: Callable[[Path], Any]
) -> None:
    put(directory / EXPERIMENT_FILE, make)
    refused(capsys, directory, "rates-1")
    with pytest.raises(ConfigError, match=EXPERIMENT_FILE):
        folders.read_experiment(directory)


@pytest.mark.parametrize(
    "change",
    [
        {"overrides": None},
        {"overrides": [1]},
        {"checkpoints": 3},
        {"study": ["a"]},
        {"digest": 3},
        {"base": 3},
        {"base": {"a": float("inf")}},
        {"base": {"a": 10**400}},
        {"base": {"a": json.loads("[" * 400 + "]" * 400)}},
        {"name": 3},
        {"question": None},
        {"warnings": [3]},
    ],
    ids=lambda change: str(change)[:30],
)
def test_a_key_of_a_record(
    capsys: pytest.CaptureFixture[str], directory: Path, change: dict[str, Any]
) -> None:
    path = directory / EXPERIMENT_FILE
    record = json.loads(path.read_text())
    key = next(iter(change))
    (record["space"] if key in record["space"] else record).update(change)
    path.write_text(json.dumps(record))
    refused(capsys, directory, EXPERIMENT_FILE)


@odd
def test_a_lock(
    capsys: pytest.CaptureFixture[str], directory: Path, make: Callable[[Path], Any]
) -> None:
    lock = directory / LOCK_FILE
    put(lock, make)
    with pytest.raises(ConfigError, match=LOCK_FILE):
        driver_of(directory)
    assert main(["status", "rates-1", "--storage", str(directory.parent)]) == 2
    assert LOCK_FILE in capsys.readouterr().err
    if not lock.is_file():
        with pytest.raises(ConfigError, match=LOCK_FILE), driving(directory):
            pass


@pytest.mark.parametrize("key", ["pid", "created", "host", "since"])
@pytest.mark.parametrize("value", [-1, None, [], 10**30, "text"])
def test_a_lock_of_nobody(directory: Path, key: str, value: Any) -> None:
    with driving(directory):
        driver = json.loads((directory / LOCK_FILE).read_text())
        assert driver_of(directory)
    (directory / LOCK_FILE).write_text(json.dumps(driver | {key: value}))
    try:
        assert driver_of(directory) is None or key in ("host", "since")
    except ConfigError as error:
        assert LOCK_FILE in str(error)  # noqa: PT017
    with driving(directory):  # no matter what is written there: the lock is free
        pass


@odd
def test_warm_starts(directory: Path, make: Callable[[Path], Any]) -> None:
    put(directory / WARM_START_FILE, make)
    with pytest.raises(ConfigError, match=WARM_START_FILE):
        evidence_in(directory, folders.read_experiment(directory))


@pytest.mark.parametrize("gone", ["deleted", "replaced", "folder"])
def test_a_ledger_that_lost_its_place_is_not_written_on(directory: Path, gone: str) -> None:
    """A search would train its whole budget into a file that nobody can open."""
    ledger = Ledger(directory)
    ledger.open()
    ledger.append(Proposed(1, {"optimizer.lr": 1e-4}, "prior"))
    if gone == "folder":
        shutil.rmtree(directory)
    else:
        content = ledger.path.read_bytes()
        ledger.path.rename(directory / "old")
        if gone == "replaced":
            ledger.path.write_bytes(content)
    with pytest.raises(OSError, match=r"ledger\.jsonl was deleted, moved or replaced"):
        ledger.append(Proposed(2, {"optimizer.lr": 1e-4}, "prior"))
    kill(ledger)
    assert list(ledger.trials) == [1]  # 0 never started
