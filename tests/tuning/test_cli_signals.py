"""`tune.py` when it is asked to stop, or its cluster or its reader is gone."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.tuning.searches import make_info
from tuning import cli, watch
from tuning.results.outcome import ExperimentResult
from tuning.spaces.loading import load_space
from tuning.spaces.space import SearchSpace
from tuning.watching.console import Console


@pytest.mark.parametrize(("interrupted", "code"), [(True, 130), (False, 1)])
def test_a_head_that_is_gone_ends_the_process_with_how_to_go_on(
    storage: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    interrupted: bool,
    code: int,
) -> None:
    ended: list[int] = []
    monkeypatch.setattr(watch, "end_process", ended.append)
    monkeypatch.setattr(signal, "getsignal", lambda number: signal.SIG_DFL)  # none to wrap
    shown = watch.Watch(Console())
    shown.start(make_info(load_space("quick.yaml"), storage.parent))
    shown.lost(interrupted)
    assert ended == [code]
    printed = " ".join(capsys.readouterr().out.split())
    assert "the head of the Ray cluster is gone; continue with python tune.py --resume" in printed


def test_a_head_that_is_gone_ends_the_process_though_nothing_can_be_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended: list[int] = []
    monkeypatch.setattr(watch, "end_process", ended.append)
    stream = io.StringIO()
    shown = watch.Watch(Console(stream))
    stream.close()
    with pytest.raises(ValueError, match="closed file"):  # end_process does not return
        shown.lost(interrupted=False)
    assert ended == [1]


def test_a_signal_is_acknowledged_and_passed_on(
    searched: list[dict[str, Any]],
    storage: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    original: Callable[..., ExperimentResult] = cli.run_experiment

    def interrupted(space: SearchSpace, **given: Any) -> ExperimentResult:
        result = original(space, **given)
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        return replace(result, complete=False, interrupted=True)

    monkeypatch.setattr(cli, "run_experiment", interrupted)
    try:
        assert cli.main(["--space", "quick.yaml", "--storage", str(storage)]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert heard == [signal.SIGINT, signal.SIGINT]
    shown = capsys.readouterr().out
    assert "stopping: running trials save after their epoch" in shown
    assert "\nstopping at once\n" in shown
    assert "search quick-x: interrupted; continue with python tune.py --resume quick-x" in shown
    assert "exported" not in shown


@pytest.fixture
def interrupts() -> Iterator[list[int]]:
    """Those that the handler of the search would have heard."""
    heard: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    yield heard
    signal.signal(signal.SIGINT, before)


def test_a_signal_is_passed_on_where_the_reader_heard_it_too(
    searched: list[dict[str, Any]],
    storage: Path,
    monkeypatch: pytest.MonkeyPatch,
    interrupts: list[int],
) -> None:
    """`tune.py | tee log` and Ctrl-C: what runs is saved all the same."""
    reader, writer = os.pipe()
    original: Callable[..., ExperimentResult] = cli.run_experiment

    def interrupted(space: SearchSpace, **given: Any) -> ExperimentResult:
        result = original(space, **given)
        os.close(reader)
        os.kill(os.getpid(), signal.SIGINT)
        given["on_notice"]("saving")
        return replace(result, complete=False, interrupted=True)

    monkeypatch.setattr(cli, "run_experiment", interrupted)
    with os.fdopen(writer, "w") as stream:
        monkeypatch.setattr(cli, "Console", lambda: Console(stream))
        assert cli.main(["--space", "quick.yaml", "--storage", str(storage)]) == 130
    assert interrupts == [signal.SIGINT]


@pytest.mark.parametrize(
    "error", [OSError("no space left"), RuntimeError("reentrant call inside a print")]
)
def test_a_signal_is_passed_on_where_nothing_can_be_said(
    error: Exception, interrupts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def say(text: str, style: str = "") -> None:
        raise error

    console = Console()
    monkeypatch.setattr(console, "say", say)
    watch.Watch(console)._acknowledge(signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)
    assert interrupts == [signal.SIGINT]
