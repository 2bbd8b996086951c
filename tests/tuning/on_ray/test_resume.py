"""The drill: the driver is killed in the middle of a search, and the search is continued."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.tuning.ledger_lines import read_lines
from tests.tuning.lr_space import lr_space
from tuning.ledger.folders import experiments, read_experiment
from tuning.ledger.ledger import Ledger, read_trials
from tuning.ledger.records import TrialRecord
from tuning.results.outcome import hours_without_stopping

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[3]
DRIVER = """
import sys
from pathlib import Path
from tests.tuning.fake_training import train
from tests.tuning.lr_space import lr_space
from tuning.on_ray.cluster import cluster
from tuning.on_ray.experiment import run_experiment

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    with cluster(None, dashboard=False):
        result = run_experiment(
            lr_space(folder, budget={"trials": 6}),
            storage=str(folder / "storage"),
            resume="last" if "resume" in sys.argv else None,
            train=train,
        )
    sys.exit(0 if result.complete else 130 if result.interrupted else 1)
"""


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    found = Driver(tmp_path)
    yield found
    found.kill()


class Driver:
    """A search in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        (folder / "driver.py").write_text(DRIVER)
        (folder / "log").touch()

    def start(self, *words: str, seconds: float = 0.05) -> None:
        """``seconds``: how long an epoch of the fake training lasts."""
        environment = {
            **os.environ,
            "FAKE_TRAINING": str(self.folder),
            "FAKE_SECONDS": str(seconds),
            "PYTHONPATH": str(ROOT),
        }
        command = [sys.executable, str(self.folder / "driver.py"), str(self.folder), *words]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    @property
    def directory(self) -> Path:
        """The newest experiment's."""
        return self.folder / "storage" / experiments(self.folder / "storage")[-1]

    def said(self) -> str:
        """The end of its output."""
        return (self.folder / "log").read_text()[-2000:]

    def trials(self) -> list[TrialRecord]:
        names = experiments(self.folder / "storage") if (self.folder / "storage").exists() else []
        return read_trials(self.folder / "storage" / names[-1]) if names else []

    def wait_until(self, ended: int, running_epochs: int) -> None:
        """Until so many trials ended and a running one has so many epochs."""
        while self.alive():
            trials = self.trials()
            running = [t.epochs for t in trials if t.state == "running"]
            if sum(t.ended for t in trials) >= ended and max(running, default=0) >= running_epochs:
                return
            time.sleep(0.02)
        pytest.fail(f"the driver ended first: {self.said()}")

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """SIGKILL; the processes of its Ray follow by themselves."""
        if self.process is None or not self.alive():
            return
        family = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        self.process.wait()
        for process in psutil.wait_procs(family, timeout=5)[1]:  # agents of Ray take their time
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def finish(self) -> int:
        assert self.process is not None
        return self.process.wait()

    def epochs(self) -> Counter[str]:
        return Counter((self.folder / "epochs").read_text().splitlines())


def test_killed_driver_resumed(driver: Driver) -> None:
    driver.start(seconds=0.1)
    driver.wait_until(ended=2, running_epochs=4)
    driver.kill()
    before, trained = driver.trials(), driver.epochs()
    directory = driver.directory
    space = read_experiment(directory)
    decided = Ledger(directory).rungs

    driver.start("resume", seconds=0)
    assert driver.finish() == 0, driver.said()
    after = driver.trials()
    assert [t.number for t in after] == list(range(6))
    assert all(t.ended for t in after)
    assert space == lr_space(driver.folder, budget={"trials": 6})

    # What had ended was not run again, and reads as it did.
    for old in before:
        if old.ended:
            assert after[old.number] == old
    again = {line: n for line, n in driver.epochs().items() if n > 1}
    ended_rates = {repr(t.params["optimizer.lr"]) for t in before if t.ended}
    assert not ended_rates & {line.split()[0] for line in again}

    # What ran went on from its checkpoint: nothing before the last rung was trained twice.
    furthest = max((t for t in before if t.state == "running"), key=lambda t: t.epochs)
    rate = repr(furthest.params["optimizer.lr"])
    assert trained[f"{rate} 3"] == 1
    assert driver.epochs()[f"{rate} 1"] == driver.epochs()[f"{rate} 3"] == 1
    assert after[furthest.number].params == furthest.params

    # The rungs are those of the first start, with the newcomers beside them.
    assert decided
    final = Ledger(directory).rungs
    for level, entries in decided.items():
        assert entries.items() <= final[level].items()
    told = [(e["trial"], e["epoch"]) for e in read_lines(directory) if e["event"] == "decision"]
    assert len(told) == len(set(told))
    for trial in after:
        epochs = [report["epoch"] for report in trial.reports]
        assert epochs == [float(epoch) for epoch in range(1, trial.epochs + 1)]
        assert hours_without_stopping(trial, space) >= trial.cost_hours


def test_an_interrupted_driver_exits_130_and_a_second_one_is_refused(driver: Driver) -> None:
    driver.start(seconds=4)  # it must be at work still when the second has started its Ray
    driver.wait_until(ended=0, running_epochs=2)
    assert driver.process is not None
    first = driver.process
    driver.start("resume")
    assert driver.finish() == 1  # an exception of this test's driver; tune.py words it
    log = (driver.folder / "log").read_text()
    assert f"process {first.pid} on" in log
    driver.process = first
    first.send_signal(signal.SIGINT)
    assert driver.finish() == 130
    assert {t.state for t in driver.trials()} <= {"pending", "finished", "stopped"}
