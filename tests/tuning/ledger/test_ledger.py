"""The ledger: trials as its lines make them, after kills and torn lines."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from hpcm import ConfigError
from tests.tuning.ledger_lines import without_checksums
from tests.tuning.lr_space import METRIC, kill, open_ledger
from tuning.ledger.events import Finished, Opened, Proposed, Report, Retried, Started, Stopped
from tuning.ledger.ledger import LEDGER_FILE, Ledger, read_trials
from tuning.ledger.lines import PIECE, cut_torn_line
from tuning.ledger.records import TrialRecord


def metrics(epoch: int, value: float = 1.0) -> dict[str, float]:
    return {"epoch": float(epoch), METRIC: value, "train/seconds": 36.0}


def run_some(ledger: Ledger) -> None:
    for number in range(4):
        ledger.append(Proposed(number, params={"optimizer.lr": number * 1e-4}))
    for number in range(3):
        ledger.append(Started(number))
        for epoch in (1, 2):
            ledger.append(Report(number, metrics=metrics(epoch, number + 1 / epoch)))
    ledger.append(Finished(0))
    ledger.append(Stopped(1, rung=1, reason="rank 3 of 3"))


def test_records_come_from_the_lines(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    run_some(ledger)
    zero, one, two, three = ledger.records()
    assert [r.state for r in ledger.records()] == ["finished", "stopped", "running", "pending"]
    assert (one.rung_stopped_at, one.reason, one.epochs) == (1, "rank 3 of 3", 2)
    assert two.curve(METRIC) == {1: 3.0, 2: 2.5}
    assert (zero.seconds, zero.cost_hours) == (72.0, 0.02)
    assert (zero.id, zero.is_prior, three.last) == ("rates-x-0000", True, {})
    ledger.close()


def test_a_killed_session_reads_back_the_same(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    run_some(ledger)
    assert read_trials(tmp_path / "rates-x") == ledger.records()  # not closed, as after a kill
    ledger.close()


def test_the_next_session_has_nothing_running(tmp_path: Path) -> None:
    first = open_ledger(tmp_path)
    run_some(first)
    kill(first)
    second = open_ledger(tmp_path)
    assert second.trials[2].state == "pending"
    assert second.trials[2].epochs == 2
    second.close()


def test_a_torn_last_line_did_not_happen(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    run_some(ledger)
    ledger.close()
    path = tmp_path / "rates-x" / LEDGER_FILE
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"event": "finished", "tri')
    again = open_ledger(tmp_path)
    again.append(Report(2, metrics=metrics(3)))
    again.close()
    assert path.read_bytes().startswith(whole)
    assert read_trials(tmp_path / "rates-x")[2].epochs == 3


def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    run_some(ledger)
    ledger.close()
    path = tmp_path / "rates-x" / LEDGER_FILE
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], lines[1][:20], *lines[2:]]))
    with pytest.raises(ConfigError, match="line 2 is damaged"):
        read_trials(tmp_path / "rates-x")


@pytest.mark.parametrize(
    "line",
    [
        b"[]",
        b"3",
        b"{}",
        b"",
        b"\x00\x00",
        b'{"event": "started", "trial": 9, "time": 1.0}',
        b'{"event": "started", "trial": 0}',
        b'{"event": "report", "trial": 0, "time": 1.0}',
        b'{"event": "decision", "trial": 0, "time": 1.0, "epoch": 1, "score": 1.0, "keeps": true}',
        b'{"event": "decision", "trial": 0, "time": 1.0, "epoch": 1, "score": NaN, "keeps": true,'
        b' "rank": 1, "peers": 1}',
        b'{"event": "decision", "trial": 0, "time": 1.0, "epoch": 1, "score": 1, "keeps": "no",'
        b' "rank": 1, "peers": 1}',
        b'{"event": "promoted", "trial": 0, "time": 1.0, "epoch": 1, "rank": 1, "peers": 3}',
    ],
)
def test_a_line_that_is_none_of_ours_or_does_not_follow_is_named(
    tmp_path: Path, line: bytes
) -> None:
    ledger = open_ledger(tmp_path)
    run_some(ledger)
    ledger.close()
    path = tmp_path / "rates-x" / LEDGER_FILE
    lines = without_checksums(path.parent)
    path.write_bytes(b"".join([*lines[:3], line + b"\n", *lines[3:]]))
    with pytest.raises(ConfigError, match=r"ledger\.jsonl: line 4 is damaged") as raised:
        read_trials(tmp_path / "rates-x")
    assert len(str(raised.value)) < 400


def test_epochs_repeated_after_a_crash_are_paid_twice_and_shown_once(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    run_some(ledger)
    ledger.append(Retried(2, reason="its process died"))
    assert (ledger.trials[2].retries, ledger.trials[2].state) == (1, "pending")
    ledger.append(Started(2))
    ledger.append(Report(2, metrics=metrics(2, 7.0)))
    trial = ledger.trials[2]
    assert trial.curve(METRIC) == {1: 3.0, 2: 7.0}
    assert trial.seconds == 3 * 36.0
    ledger.close()


def test_wall_clock_counts_sessions_and_not_the_time_between(tmp_path: Path) -> None:
    directory = tmp_path / "rates-x"
    directory.mkdir()
    lines = [
        {"event": "opened", "time": 100.0},
        {"event": "proposed", "time": 110.0, "trial": 0, "params": {}},
        {"event": "opened", "time": 500.0},  # the first was killed after 10 s
        {"event": "closed", "time": 505.0},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (directory / LEDGER_FILE).write_text(text)
    assert Ledger(directory).seconds == 15.0


@pytest.mark.parametrize("jump", [-7200.0, 360000.0])
def test_a_clock_that_is_set_spends_no_hours(
    jump: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = open_ledger(tmp_path)
    run_some(ledger)
    now = time.time
    monkeypatch.setattr("time.time", lambda: now() + jump)
    ledger.append(Started(3))
    assert abs(ledger.seconds) < 60
    kill(ledger)
    again = Ledger(ledger.path.parent)
    assert again.seconds == pytest.approx(ledger.seconds)
    assert again.records() == ledger.records()


def test_devices_are_paid(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    run_some(ledger)
    ledger.close()
    half: list[TrialRecord] = Ledger(tmp_path / "rates-x", devices=0.5).records()
    assert half[0].cost_hours == 0.01


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE + 7])
def test_a_torn_line_of_any_length_is_cut(tmp_path: Path, size: int) -> None:
    path = tmp_path / "lines"
    for whole in (b"", b"{}\n", b"{}\n" + b"x" * PIECE + b"\n"):
        path.write_bytes(whole + b"y" * size)
        cut_torn_line(path)
        assert path.read_bytes() == whole


def test_a_reader_goes_on_where_it_was(tmp_path: Path) -> None:
    writer = open_ledger(tmp_path)
    reader = Ledger(tmp_path / "rates-x")
    run_some(writer)
    with writer.path.open("ab") as file:
        file.write(b'{"event": "fini')  # being written
    reader.read_on()
    assert reader.records() == writer.records()
    writer.read_on()  # what it wrote itself is not applied twice
    assert reader.records() == writer.records()
    writer.close()


def test_what_was_spent_is_counted_as_it_was_spent(tmp_path: Path) -> None:
    """A resume with other resources changes the cost of later epochs alone."""
    ledger = open_ledger(tmp_path)
    ledger.close()
    for devices in (8, 0.5):
        ledger = Ledger(tmp_path / "rates-x", devices)
        ledger.open(Opened(devices=devices))
        if not ledger.trials:
            ledger.append(Proposed(0, params={}))
        ledger.append(Started(0))
        ledger.append(Report(0, metrics=metrics(int(9 - devices))))
        ledger.close()
    (record,) = Ledger(tmp_path / "rates-x", 1.0).records()
    assert record.cost_hours == pytest.approx(36 / 3600 * 8.5)
