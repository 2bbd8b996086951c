"""Signals to a whole search, as terminals and batch systems send them, and a head that is lost."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.tuning.lr_space import open_ledger
from tests.tuning.tune_process import Tune
from tuning.closing import SIGNALS, Closing
from tuning.head_watch import PATIENCE, PATIENCE_CLOSING, HeadWatch, patience
from tuning.ledger import read_events, read_trials


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
    ledger = open_ledger(tmp_path)
    closing = Closing(ledger.path.parent, ledger, None)
    signal.signal(number, signal.default_int_handler)
    with closing.on_signals():
        os.kill(os.getpid(), number)
        assert (closing.interrupted, closing.at_once) == (True, False)
        os.kill(os.getpid(), number)
        assert closing.at_once
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is signal.default_int_handler
    ledger.close()


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_that_the_parent_ignored_stays_ignored(
    tmp_path: Path, handlers: None, number: int
) -> None:
    """A shell script ignores SIGINT for `tune.py &`, `nohup` ignores SIGHUP."""
    ledger = open_ledger(tmp_path)
    closing = Closing(ledger.path.parent, ledger, None)
    signal.signal(number, signal.SIG_IGN)
    with closing.on_signals():
        os.kill(os.getpid(), number)
        assert closing.reason is None
    assert signal.getsignal(number) is signal.SIG_IGN
    ledger.close()


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


@pytest.fixture
def tune(tmp_path: Path) -> Iterator[Tune]:
    found = Tune(tmp_path)
    yield found
    found.kill()


@pytest.mark.ray
@pytest.mark.cluster
@pytest.mark.timeout(200)
def test_a_signal_to_the_whole_group_lets_trials_save(tune: Tune) -> None:
    """As `timeout`, a closed terminal and Slurm send it. Before, Ray died of it with everything."""
    tune.start("--space", str(tune.folder / "rates.yaml"))
    tune.wait_for_epochs(3)
    assert tune.process is not None
    os.killpg(tune.process.pid, signal.SIGHUP)
    assert tune.finish() == 130, tune.log.read_text()[-2000:]
    assert "interrupted; continue with python tune.py --resume rates-" in tune.log.read_text()
    events = [line["event"] for line in read_events(tune.directory())]
    assert events.count("suspended") == events.count("started")
    assert "retried" not in events
    assert psutil.wait_procs(tune.family, timeout=20)[1] == []  # nothing of Ray is left


@pytest.mark.ray
@pytest.mark.cluster
@pytest.mark.timeout(200)
def test_ray_killed_together_with_its_driver(tune: Tune) -> None:
    """As Slurm's cgroups do it. Ray alone would hold the driver for 60 s, then end it with 1."""
    tune.start("--space", str(tune.folder / "rates.yaml"))
    tune.wait_for_epochs(3)
    assert tune.process is not None
    for process in tune.rays("gcs_server", "raylet"):
        process.terminate()
    tune.process.terminate()
    asked = time.monotonic()
    assert tune.finish() == 130, tune.log.read_text()[-2000:]
    print(f"ended after {time.monotonic() - asked:.1f} s", file=sys.stderr)
    said = tune.log.read_text()
    assert "the head of the Ray cluster is gone; continue with" in said or "interrupted" in said
    before = read_trials(tune.directory())
    assert psutil.wait_procs(tune.family, timeout=30)[1] == []

    tune.start("--space", str(tune.folder / "rates.yaml"), "--resume", "last")
    assert tune.finish() == 0, tune.log.read_text()[-2000:]
    after = read_trials(tune.directory())
    assert all(trial.ended for trial in after)
    for old in before:
        if old.ended:
            assert after[old.number] == old


def test_the_port_of_a_head_answers_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from tuning import head_watch

    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr(
            head_watch.ray, "get_runtime_context", lambda: SimpleNamespace(gcs_address=address)
        )
        ask = head_watch.gcs_answers()
        assert ask()
    assert not ask()
