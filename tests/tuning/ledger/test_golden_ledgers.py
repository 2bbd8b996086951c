"""Ledgers of an earlier version, without checksums: they are read, and continued as it would have.

See tests/golden/ledgers/ORIGIN.md.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from hpcm import ConfigError
from tests.tuning.ledger_lines import read_lines
from tests.tuning.plays import Searched, fates
from tuning.ledger.folders import read_experiment
from tuning.ledger.ledger import Ledger
from tuning.results.confirm import planned_runs
from tuning.results.tables import read_result, survival, trials_table
from tuning.search.search import Search

GOLDEN = Path(__file__).parents[2] / "golden" / "ledgers"
STATES = {
    "fifo": {"finished": 4, "pending": 1},
    "asha": {"finished": 2, "running": 1},
    "promote": {"finished": 4, "waiting": 4, "running": 1},
    "hyperband": {"stopped": 4, "waiting": 2, "running": 1},
    "pbt": {"waiting": 6, "running": 1},
    "median": {"finished": 5, "stopped": 2},
    "ray_asha": {"finished": 4, "stopped": 3},
    "pb2": {"finished": 7},
}
CONTINUED = ("fifo", "asha", "promote", "hyperband", "pbt")
GONE = {"median": "promote", "ray_asha": "asha", "pb2": "pbt"}


@pytest.mark.parametrize("name", STATES)
def test_a_ledger_of_an_earlier_version_is_read(name: str) -> None:
    ledger = Ledger(GOLDEN / name)
    assert Counter(trial.status for trial in ledger.trials.values()) == STATES[name]
    assert not ledger.protected
    result = read_result(name, str(GOLDEN))
    assert result.trials == ledger.records()
    assert result.best is not None
    assert len(trials_table(result.trials, result.info.space)) == len(result.trials)
    reached = [row["reached"] for row in survival(result.trials, result.info.space)]
    assert reached == sorted(reached, reverse=True)


def continued(folder: Path, name: str) -> Searched:
    """A copy of the experiment, under the name that plays have."""
    shutil.copytree(GOLDEN / name, folder / "rates-x")
    return Searched(folder, read_experiment(folder / "rates-x"))


def rounded(text: str) -> Any:
    """JSON, its numbers to 12 digits: TPE sums its densities in another order than it did."""
    return json.loads(text, parse_float=lambda number: float(f"{float(number):.12g}"))


@pytest.mark.parametrize("name", CONTINUED)
def test_it_is_continued_to_the_end_that_it_would_have_had(name: str, tmp_path: Path) -> None:
    play = continued(tmp_path, name)
    assert play.session()
    expected = (GOLDEN / name / "whole.json").read_text()
    assert rounded(json.dumps(fates(play.trials()))) == rounded(expected)
    runs = Ledger(play.directory).confirmations()
    planned = {(t.number, seed) for t, seed in planned_runs(play.trials(), play.space)}
    assert {(run.confirms, run.seed) for run in runs if run.state == "finished"} == planned


@pytest.mark.parametrize("name", CONTINUED)
def test_once_continued_it_is_covered_from_its_first_line_on(name: str, tmp_path: Path) -> None:
    play = continued(tmp_path, name)
    before = len(play.events())
    assert play.session()
    path = play.directory / "ledger.jsonl"
    assert Ledger(play.directory).protected
    events = read_lines(play.directory)
    assert all(("crc" in event) == (number >= before) for number, event in enumerate(events))
    whole = path.read_bytes()
    first = whole.index(b'"time": 1') + len(b'"time": 1')
    path.write_bytes(whole[:first] + bytes([whole[first] ^ 1]) + whole[first + 1 :])
    with pytest.raises(ConfigError, match=f"line {before + 1} is damaged"):
        Ledger(play.directory)


@pytest.mark.parametrize("name", GONE)
def test_a_scheduler_that_is_gone_names_what_to_use_instead(name: str, tmp_path: Path) -> None:
    """To whoever resumes it, and before that to whoever reads its space from a file again."""
    play = continued(tmp_path, name)
    message = f"{name} is gone; use {GONE[name]}"
    assert list(play.space.scheduler.problems(play.space)) == [("scheduler.name", message)]
    with pytest.raises(ConfigError, match=f"scheduler.name: {message}"):
        Search(play.space, Ledger(play.directory))
