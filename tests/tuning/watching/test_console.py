from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console as RichConsole

from tests.tuning.searches import make_info, make_space, make_trials, report
from tuning.ledger.records import TrialRecord
from tuning.results.outcome import best_of
from tuning.spaces.space import SearchSpace
from tuning.watching.console import Console, opening_lines
from tuning.watching.progress import Progress
from tuning.watching.trial_table import begun, trial_table


@pytest.fixture
def space(tmp_path: Path) -> SearchSpace:
    return make_space(tmp_path)


def test_a_terminal_that_was_closed_is_written_to_no_more() -> None:
    """Every word to it would be an error, and end the search."""
    code = (
        "from tuning.watching.console import Console; console = Console(); console.say('before');"
        "console.leave_terminal(); console.say('after')"
    )
    ours, theirs = os.openpty()
    run = subprocess.Popen([sys.executable, "-c", code], stdout=theirs, stderr=theirs)
    os.close(theirs)
    message = b""
    with contextlib.suppress(OSError):  # the other end is closed
        while piece := os.read(ours, 1000):
            message += piece
    os.close(ours)
    assert run.wait() == 0
    assert message.split() == [b"before"]


@pytest.mark.parametrize("both", [False, True])
def test_a_reader_that_is_gone_does_not_end_the_search(both: bool) -> None:
    """As `tee` is after Ctrl-C; with `2>&1 | tee` the errors went there too."""
    code = (
        "import os, sys; from tuning.watching.console import Console; console = Console();"
        "console.say('one'); console.say('two'); print('three', flush=True);"
        f"{'print(4, file=sys.stderr, flush=True);' if both else ''} sys.exit(7)"
    )
    ours, theirs = os.pipe()
    os.close(ours)
    errors = theirs if both else subprocess.PIPE
    run = subprocess.Popen([sys.executable, "-c", code], stdout=theirs, stderr=errors)
    os.close(theirs)
    assert run.communicate()[1] == (None if both else b"")
    assert run.returncode == 7


def test_every_event_is_one_line_and_told_once(space: SearchSpace) -> None:
    progress = Progress(space)
    trials = make_trials(space)
    lines = list(progress.lines(trials))
    assert list(progress.lines(trials)) == []
    assert not any("\n" in line for line in lines)
    text = "\n".join(lines)
    assert "trial   0  started   the prior, the hand-tuned config" in text
    assert "trial   1  started   optimizer.lr 0.00025  balancer.name famo" in text
    assert "trial   1  reported  epoch 2/9  rd_cost 1.7000  bpp 0.8500  PSNR 28.30 dB" in text
    assert "trial   1  finished  all 9 epochs" in text
    assert "trial   2  stopped   at rung 2 of 3, epoch 3: rd_cost 4.3333 is not among" in text
    assert "trial   3  failed    diverged: the loss is not finite" in text
    assert len(lines) == 4 + (9 + 9 + 3 + 1) + 4  # starts, reports, endings


def test_a_retry_and_its_continuation_are_told(space: SearchSpace) -> None:
    progress = Progress(space)
    trial = TrialRecord(id="a", number=1, params=space.prior(), state="running")
    trial.reports.append(report(1, 2.0))
    list(progress.lines([trial]))
    trial.state, trial.retries, trial.reason = "pending", 1, "the worker died"
    assert list(progress.lines([trial])) == ["trial   1  crashed   retry 1: the worker died"]
    trial.state = "running"
    assert list(progress.lines([trial])) == ["trial   1  continued from epoch 1"]


def test_a_trial_that_waited_in_vain_is_only_stopped(space: SearchSpace) -> None:
    trial = make_trials(space)[1]
    trial.state, trial.paused, trial.reports = "pending", True, [report(1, 2.0)]
    progress = Progress(space)
    progress.skip([trial])
    trial.state, trial.paused, trial.rung_stopped_at = "stopped", False, 1
    trial.reason = "rank 2 of 3 at epoch 1"
    found = ["trial   1  stopped   at rung 1 of 3, epoch 1: rank 2 of 3"]
    assert list(progress.lines([trial])) == found


def test_a_trial_that_waits_and_goes_on_is_told(space: SearchSpace) -> None:
    trial = make_trials(space)[1]
    trial.state, trial.reports = "running", [report(1, 2.0)]
    progress = Progress(space)
    list(progress.lines([trial]))
    trial.state, trial.paused, trial.reason = "pending", True, "rank 2 of 3 at epoch 1"
    assert list(progress.lines([trial])) == ["trial   1  waiting   rank 2 of 3 at epoch 1"]
    assert list(progress.lines([trial])) == []
    trial.state, trial.paused = "running", False
    assert list(progress.lines([trial])) == ["trial   1  continued from epoch 1"]


def test_a_resume_does_not_tell_the_past_again(space: SearchSpace, tmp_path: Path) -> None:
    stream = io.StringIO()
    console = Console(stream)
    trials = make_trials(space)
    console.start(make_info(space, tmp_path, resumed=True), trials)
    console.update(trials)
    assert "4 of 4 trials had ended" in stream.getvalue()
    assert "reported" not in stream.getvalue()


def test_opening_names_the_dashboard_and_its_token(space: SearchSpace, tmp_path: Path) -> None:
    stream = io.StringIO()
    console = Console(stream)
    console.start(make_info(space, tmp_path), [])
    console.stop()
    assert "http://127.0.0.1:8265 (token: ray get-auth-token)" in stream.getvalue()
    assert "ray         started here, on loopback alone: 2 CPU, 0 GPU" in stream.getvalue()
    page = f"page        python -m tuning serve quick-x --storage {tmp_path / 'storage'}"
    assert page in stream.getvalue()


def test_opening_says_what_stays_idle(space: SearchSpace, tmp_path: Path) -> None:
    for idle, found in (("", False), ("24 of 32 GPUs: budget.concurrent is 8", True)):
        lines = opening_lines(replace(make_info(space, tmp_path), idle=idle), [])
        assert ("idle        24 of 32 GPUs: budget.concurrent is 8" in lines) is found


def test_plain_lines_carry_no_terminal_codes(space: SearchSpace, tmp_path: Path) -> None:
    stream = io.StringIO()
    console = Console(stream)
    console.start(make_info(space, tmp_path), [])
    console.update(make_trials(space))
    console.stop()
    assert "\x1b" not in stream.getvalue()
    assert "trial   0  finished" in stream.getvalue()


def test_a_terminal_that_cannot_redraw_gets_plain_lines(
    space: SearchSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    stream = io.StringIO()
    console = Console(stream, terminal=True)
    console.start(make_info(space, tmp_path), [])
    console.update(make_trials(space))
    assert "trial   1  finished  all 9 epochs" in stream.getvalue()
    console.stop()


def test_a_terminal_gets_a_table_and_its_cursor_back(space: SearchSpace, tmp_path: Path) -> None:
    stream = io.StringIO()
    console = Console(stream, terminal=True)
    console.rich.width, console.rich.height = 140, 40
    console.start(make_info(space, tmp_path), [])
    console.update(make_trials(space))
    console.stop()
    shown = stream.getvalue()
    assert "what it tries" in shown
    assert "best: trial 1" in shown
    assert "1 stopped early" in shown
    assert "reported" not in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")


def test_the_table_puts_the_best_first_and_counts_what_it_leaves_out(space: SearchSpace) -> None:
    trials = make_trials(space)
    out = RichConsole(file=io.StringIO(), width=140)
    out.print(trial_table(trials, space, height=3))
    assert isinstance(out.file, io.StringIO)
    rows = [line.split() for line in out.file.getvalue().splitlines() if line.strip()]
    assert [row[0] for row in rows[2:5]] == ["1", "0", "2"]
    assert " ".join(rows[5]) == "and 1 more"
    assert "-18.6" in rows[2]  # 1.3111 against the prior's 1.6111


def test_the_table_has_what_was_interrupted_and_not_what_never_began(space: SearchSpace) -> None:
    started, fresh, *_ = make_trials(space)
    started.reopen()
    fresh.reopen()
    fresh.reports.clear()
    assert begun([started, fresh]) == [started]


def test_best_is_among_those_that_went_furthest(space: SearchSpace) -> None:
    trials = make_trials(space)
    trials[2].reports[-1]["val_rd_cost"] = 0.1  # good, but only after 3 epochs
    best = best_of(trials, space)
    assert best is not None
    assert best.number == 1
    assert best_of([], space) is None
