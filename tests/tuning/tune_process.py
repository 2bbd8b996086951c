"""`tune.py` with a training of milliseconds, in a process group of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.tuning.lr_space import lr_space
from tuning.ledger import read_trials
from tuning.storage import experiments

ROOT = Path(__file__).parents[2]
TUNE = """
import sys
from functools import partial
from tests.tuning.fake_training import train
from tuning import cli
from tuning.experiment import run_experiment

if __name__ == "__main__":
    cli.run_experiment = partial(run_experiment, train=train)
    cli.can_measure = lambda space: False
    sys.exit(cli.main(sys.argv[1:]))
"""


class Tune:
    """A search of three trials, two at a time, half a second an epoch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        (folder / "tune_with_fake.py").write_text(TUNE)
        lr_space(folder, budget={"trials": 3, "concurrent": 2})
        self.process: subprocess.Popen[bytes] | None = None
        self.family: list[psutil.Process] = []

    def start(self, *words: str, **environment: str) -> None:
        environment = {
            **os.environ,
            **environment,
            "FAKE_TRAINING": str(self.folder),
            "FAKE_SECONDS": "0.5",
            "PYTHONPATH": str(ROOT),
        }
        command = [sys.executable, str(self.folder / "tune_with_fake.py"), *words]
        command += ["--profile", "cluster", "--storage", str(self.folder / "storage")]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, start_new_session=True
            )

    def directory(self) -> Path:
        return self.folder / "storage" / experiments(self.folder / "storage")[-1]

    def wait_for_epochs(self, count: int) -> None:
        assert self.process is not None
        while self.process.poll() is None:
            if (self.folder / "storage").exists() and experiments(self.folder / "storage"):
                trials = read_trials(self.directory())
                if sum(trial.epochs for trial in trials) >= count:
                    self.family = psutil.Process(self.process.pid).children(recursive=True)
                    return
            time.sleep(0.05)
        pytest.fail(f"it ended first: {self.log.read_text()[-2000:]}")

    def rays(self, *names: str) -> list[psutil.Process]:
        return [p for p in self.family if any(name in p.name() for name in names)]

    def finish(self) -> int:
        assert self.process is not None
        return self.process.wait(timeout=120)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        for process in psutil.wait_procs(self.family, timeout=10)[1]:
            process.kill()
