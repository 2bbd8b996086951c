"""The checksums of a ledger: whatever is changed in it is found, and where."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hpcm import ConfigError
from tests.tuning.ledger_lines import without_checksums
from tests.tuning.lr_space import METRIC, open_ledger
from tuning.ledger.events import Finished, Proposed, Report, Started
from tuning.ledger.ledger import LEDGER_FILE, Ledger, read_events
from tuning.ledger.lines import Chain, salvage

FOLLOWS = "its checksum does not follow from the lines before it"


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """A ledger of ten lines."""
    return written(tmp_path, "rates")


def written(folder: Path, name: str, rate: float = 1e-4) -> Path:
    (folder / name).mkdir()
    opened = open_ledger(folder / name)
    for number in range(2):
        opened.append(Proposed(number, {"optimizer.lr": rate}, "prior"))
        opened.append(Started(number))
        opened.append(Report(number, {"epoch": 1.0, METRIC: 12.25}))
        opened.append(Finished(number))
    opened.close()
    return opened.path


def refused(path: Path, content: bytes, line: int, reason: str = FOLLOWS) -> None:
    """Both readers refuse it, at this line."""
    path.write_bytes(content)
    message = re.escape(f"{path}: line {line} is damaged ({reason})")
    with pytest.raises(ConfigError, match=message):
        Ledger(path.parent)
    with pytest.raises(ConfigError, match=message):
        list(read_events(path.parent))


def test_every_changed_digit_is_found(ledger: Path) -> None:
    whole = ledger.read_bytes()
    digits = [at for at, byte in enumerate(whole) if chr(byte).isdigit()]
    assert len(digits) > 200
    for at in digits:
        changed = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
        refused(ledger, changed, line=whole[:at].count(b"\n") + 1)


@pytest.mark.parametrize("line", range(1, 10))
def test_a_line_that_is_missing_is_found_at_the_next(ledger: Path, line: int) -> None:
    lines = ledger.read_bytes().splitlines(keepends=True)
    refused(ledger, b"".join([*lines[: line - 1], *lines[line:]]), line)


@pytest.mark.parametrize("line", range(1, 10))
def test_lines_that_changed_places_are_found(ledger: Path, line: int) -> None:
    lines = ledger.read_bytes().splitlines(keepends=True)
    lines[line - 1 : line + 1] = lines[line], lines[line - 1]
    refused(ledger, b"".join(lines), line)


@pytest.mark.parametrize("line", range(1, 11))
def test_a_line_that_is_there_twice_is_found(ledger: Path, line: int) -> None:
    lines = ledger.read_bytes().splitlines(keepends=True)
    refused(ledger, b"".join([*lines[:line], *lines[line - 1 :]]), line + 1)


def test_lines_of_another_ledger_are_found(ledger: Path, tmp_path: Path) -> None:
    other = written(tmp_path, "others", rate=2e-4).read_bytes().splitlines(keepends=True)
    mine = ledger.read_bytes().splitlines(keepends=True)
    refused(ledger, b"".join([*mine[:4], *other[4:]]), line=5)


def test_a_line_without_a_checksum_after_one_that_has_it_is_refused(ledger: Path) -> None:
    whole, last = ledger.read_bytes(), without_checksums(ledger.parent)[-1]
    refused(ledger, whole + last, whole.count(b"\n") + 1, "it has no checksum")


def test_a_checksum_that_is_no_number_is_refused(ledger: Path) -> None:
    lines = ledger.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2][:-11] + b'zzzzzzzz"}\n'
    refused(ledger, b"".join(lines), line=3)


def test_a_torn_last_line_is_cut_and_the_checksums_go_on(ledger: Path) -> None:
    whole = ledger.read_bytes()
    for length in range(1, len(whole.splitlines()[-1]) + 1):
        ledger.write_bytes(whole[:-length])
        known = Ledger(ledger.parent).records()
        again = Ledger(ledger.parent)
        again.open()
        again.close()
        assert Ledger(ledger.parent).records() == known
    assert again.count == whole.count(b"\n") + 1


def test_whole_lines_that_are_missing_at_the_end_cannot_be_seen(ledger: Path) -> None:
    lines = ledger.read_bytes().splitlines(keepends=True)
    ledger.write_bytes(b"".join(lines[:6]))
    assert Ledger(ledger.parent).count == 6


def test_a_ledger_says_whether_it_is_protected(ledger: Path) -> None:
    assert Ledger(ledger.parent).protected
    ledger.write_bytes(b"".join(without_checksums(ledger.parent)))
    old = Ledger(ledger.parent)
    assert not old.protected
    old.open()
    assert old.protected
    old.close()
    assert Ledger(ledger.parent).protected


def test_a_reader_that_follows_checks_what_is_added(ledger: Path) -> None:
    reader = Ledger(ledger.parent)
    foreign = Chain().written({"event": "opened", "time": 1.0})
    with ledger.open("ab") as file:
        file.write(foreign)
    for _ in range(2):  # at every call
        with pytest.raises(ConfigError, match=f"line {reader.count + 1} is damaged"):
            reader.read_on()


@pytest.mark.parametrize("line", [1, 4, 10])
def test_whole_lines_before_the_damage_are_salvaged(ledger: Path, line: int) -> None:
    lines = ledger.read_bytes().splitlines(keepends=True)
    damaged = lines[line - 1].replace(b'"time": 1', b'"time": 2')
    ledger.write_bytes(b"".join([*lines[: line - 1], damaged, *lines[line:]]))
    saved = ledger.parent / "saved" / LEDGER_FILE
    saved.parent.mkdir()
    assert salvage(ledger, saved) == (line - 1, len(lines))
    assert saved.read_bytes() == b"".join(lines[: line - 1])
    assert Ledger(saved.parent).count == line - 1
    with pytest.raises(ConfigError, match="exists already; give another name"):
        salvage(ledger, saved)
