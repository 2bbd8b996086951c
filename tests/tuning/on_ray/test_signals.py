"""Signals to a whole search, as terminals and batch systems send them, and a head that is lost."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tuning.on_ray.closing import SIGNALS, Closing
from tuning.on_ray.head_watch import PATIENCE, PATIENCE_CLOSING, HeadWatch, patience


@pytest.fixture
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_every_signal_closes_and_the_second_one_at_once(
    tmp_path: Path, handlers: None, number: int
) -> None:
    closing = Closing(tmp_path, None)
    signal.signal(number, signal.default_int_handler)
    with closing.on_signals():
        os.kill(os.getpid(), number)
        assert (closing.interrupted, closing.at_once) == (True, False)
        os.kill(os.getpid(), number)
        assert closing.at_once
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is signal.default_int_handler


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_known_while_the_main_thread_is_held_in_ray(
    tmp_path: Path, handlers: None, number: int
) -> None:
    """Its handler waits for the next step of Python there, which may never come."""
    closing = Closing(tmp_path, None)
    before = signal.set_wakeup_fd(-1)
    with closing.on_signals():
        assert not closing.signalled()
        signal.signal(number, lambda *_: None)  # as if it had not run
        os.kill(os.getpid(), number)
        assert (closing.interrupted, closing.signalled()) == (False, True)
        assert closing.signalled()
    assert closing.signalled()
    assert signal.set_wakeup_fd(before) == -1


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_that_the_parent_ignored_stays_ignored(
    tmp_path: Path, handlers: None, number: int
) -> None:
    """A shell script ignores SIGINT for `tune.py &`, `nohup` ignores SIGHUP."""
    closing = Closing(tmp_path, None)
    signal.signal(number, signal.SIG_IGN)
    with closing.on_signals():
        os.kill(os.getpid(), number)
        assert closing.reason is None
    assert signal.getsignal(number) is signal.SIG_IGN


def test_a_head_counts_as_lost_after_a_while_and_once() -> None:
    now, alive, heard = [0.0], [True], []
    watch = HeadWatch(lambda: alive[0], lambda: 5.0, heard.append, clock=lambda: now[0])
    for now[0], alive[0] in ((4, False), (5, True), (9, False), (10, False)):
        watch.look()
    assert heard == []
    for now[0] in (10.5, 11):
        watch.look()
    assert heard == [5.5]


def test_a_head_of_our_own_or_after_a_signal_is_given_up_sooner() -> None:
    assert patience("local", closing=False) == PATIENCE_CLOSING
    assert patience("10.0.0.1:6379", closing=True) == PATIENCE_CLOSING
    assert patience("10.0.0.1:6379", closing=False) == PATIENCE < 60


def test_the_port_of_a_head_answers_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from tuning.on_ray import head_watch

    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr(
            head_watch.ray, "get_runtime_context", lambda: SimpleNamespace(gcs_address=address)
        )
        ask = head_watch.gcs_answers()
        assert ask()
    assert not ask()
