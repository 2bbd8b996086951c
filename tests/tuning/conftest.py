"""Fixtures of the tests of search spaces and of `tune.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tuning.lr_space import kill, open_ledger
from tests.tuning.searches import make_info, make_result, make_trials, write_space
from tests.tuning.small_spaces import Change, write
from tuning import cli, load_space, watch
from tuning.ledger.events import Proposed
from tuning.ledger.folders import write_experiment
from tuning.ledger.ledger import Ledger
from tuning.results.outcome import ExperimentResult
from tuning.spaces.space import SearchSpace


@pytest.fixture
def space_file(tmp_path: Path) -> Callable[..., Path]:
    """``space_file(change, name="mine", comment="")``: the file of `spaces.SPACE`, changed."""

    def make(change: Change = lambda data: None, name: str = "mine", comment: str = "") -> Path:
        return write(tmp_path, change, name, comment)

    return make


@pytest.fixture
def space(space_file: Callable[..., Path]) -> SearchSpace:
    """`spaces.SPACE` as written."""
    return load_space(space_file())


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A storage that is not there yet, in a working folder with the small space; no GPU."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr(watch, "seconds_of_an_epoch", lambda space: 12.0)
    write_space(tmp_path)
    return tmp_path / "storage"


@pytest.fixture
def searched(storage: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What `run_experiment` is called with; it gives a complete experiment at once."""
    calls: list[dict[str, Any]] = []

    def run(space: SearchSpace, **given: Any) -> ExperimentResult:
        calls.append({"space": space, **given})
        info = make_info(space, storage.parent)
        write_experiment(info.directory, space, **given["provenance"])
        given["on_start"](info)
        given["on_change"](make_trials(space))
        return make_result(space, storage.parent)

    monkeypatch.setattr(cli, "run_experiment", run)
    return calls


@pytest.fixture
def ledger_in() -> Iterator[Callable[..., Ledger]]:
    """``ledger_in(folder, trials=50)``: the ledger of the experiment there, with proposed trials.

    Where it is open, its driver was killed, and this is the next one.
    """
    opened: dict[Path, Ledger] = {}

    def start(folder: Path, trials: int = 50) -> Ledger:
        if folder in opened:
            kill(opened[folder])
        ledger = opened[folder] = open_ledger(folder)
        for number in range(len(ledger.trials), trials):
            ledger.append(Proposed(number, params={}), sync=False)
        return ledger

    yield start
    for ledger in opened.values():
        ledger.close()
