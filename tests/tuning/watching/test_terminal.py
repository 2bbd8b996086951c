"""Texts of others on a terminal: no markup, and no control character, wherever they are shown."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest

from hpcm.streams import printable
from tests.tuning.searches import make_info, make_result, make_space, make_trials
from tests.tuning.served import served
from tuning import cli
from tuning.__main__ import main
from tuning.ledger.ledger import LEDGER_FILE
from tuning.watching.console import Console
from tuning.watching.summary import summary_lines
from tuning.watching.terminal import Terminal

REASONS = {
    "a closing tag": ("no such file [/data/train/0001.png]",) * 2,
    "a tag": ("expected [batch, channels], got [red]", "expected [batch, channels], got [red]"),
    "an emoji": ("stopped at :warning:", "stopped at :warning:"),
    "ESC and BEL": ("a\x1b]0;owned\x07b\x1b[2Jc", r"a\x1b]0;owned\x07b\x1b[2Jc"),
    "C1 and others": ("a\x9b2J\r\x08\x7f\u202eb", r"a\x9b2J\r\x08\x7f\u202eb"),
}


@pytest.mark.parametrize(("reason", "shown"), REASONS.values(), ids=REASONS)
@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "lines"])
def test_a_search_shows_any_reason_of_a_failure(
    tmp_path: Path, reason: str, shown: str, terminal: bool
) -> None:
    space = make_space(tmp_path)
    trials = make_trials(space)
    trials[3].reason = reason
    stream = io.StringIO()
    console = Console(stream, terminal)
    console.rich.width, console.rich.height = 200, 40
    console.start(make_info(space, tmp_path), [])
    console.update(trials)
    console.stop()
    text = stream.getvalue()
    assert shown in text
    for sent in ("\x07", "\x1b]0;", "\x1b[2Jc", "\x9b", "\u202e"):
        assert sent not in text


@pytest.mark.parametrize(("reason", "shown"), REASONS.values(), ids=REASONS)
def test_its_notes_and_its_summary_do(tmp_path: Path, reason: str, shown: str) -> None:
    result = make_result(make_space(tmp_path), tmp_path)
    result.trials[3].reason = reason
    stream = io.StringIO()
    console = Console(stream)
    console.say(f"note: {reason}", "yellow")
    for line in summary_lines(result, export=None):
        console.say(line)
    lines = stream.getvalue().split("\n")
    assert lines[0] == f"note: {shown}"
    assert f"  trial 3 failed: {shown}" in lines


@pytest.mark.parametrize(("reason", "shown"), REASONS.values(), ids=REASONS)
def test_status_and_trials_do(
    tmp_path: Path, reason: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with served(tmp_path, reason):
        pass
    storage = ["--storage", str(tmp_path / "storage")]
    assert main(["status", "last", *storage]) == 0
    out = capsys.readouterr().out
    assert f"{shown}\n" in out  # in the summary
    assert printable(out) == out
    assert main(["trials", "last", *storage]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert rows[3]["reason"].endswith(shown)


def test_status_is_as_wide_as_it_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(tmp_path):
        pass
    widths = []
    for columns in ("120", None):
        if columns is None:
            monkeypatch.delenv("COLUMNS")
        else:
            monkeypatch.setenv("COLUMNS", columns)
        assert main(["status", "last", "--storage", str(tmp_path / "storage")]) == 0
        rule = next(line for line in capsys.readouterr().out.splitlines() if "──" in line)
        widths.append(len(rule))
    assert widths == [120, 160]


def test_a_refusal_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--space", "a\x1b[2J[/b].yaml"]) == 2
    assert r"a\x1b[2J[/b].yaml: there is no such file" in capsys.readouterr().err
    assert main(["status", "a\x1b[2J[/b]", "--storage", str(tmp_path)]) == 2
    assert r"a\x1b[2J[/b]" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["status", "trials"])
def test_a_ledger_without_checksums_is_told(
    tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with served(tmp_path) as (directory, _):
        pass
    words = [command, "last", "--storage", str(tmp_path / "storage")]
    assert main(words) == 0
    assert capsys.readouterr().err == ""
    path = directory / LEDGER_FILE
    path.write_text(
        re.sub(r', "crc": "\w{8}"', "", path.read_text()).replace('"format": 2', '"format": 1')
    )
    assert main(words) == 0
    assert "without checksums: a changed line is not seen" in capsys.readouterr().err


def test_our_own_styles_are_still_sent() -> None:
    stream = io.StringIO()
    Terminal(file=stream, force_terminal=True).print("wait", style="yellow")
    assert "\x1b[33mwait\x1b[0m" in stream.getvalue()
