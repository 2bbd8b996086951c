"""A search as a drill sees it: a process that can be killed, and the ledger that is left."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.drills.fake_training import Trained, trained
from tests.tuning.ledger_lines import read_lines
from tuning.ledger.folders import experiments, read_experiment
from tuning.ledger.ledger import read_trials
from tuning.ledger.records import TrialRecord
from tuning.spaces.space import SearchSpace

ROOT = Path(__file__).parents[2]
#: Learning rates of a search over a grid, best first after the prior; the prior is no good.
RATES = (2e-3, 1e-4, 1.5e-4, 2.5e-4, 4e-4, 6e-4, 1e-3, 3e-3, 5e-3)


def space_of(rates: Sequence[float] | None, **sections: dict[str, Any]) -> dict[str, Any]:
    """A space file's content: these rates one after the other, or None: drawn by TPE."""
    lr: dict[str, Any]
    if rates is None:
        lr = {"type": "float", "low": 1.0e-6, "high": 1.0e-2, "log": True, "prior": 2.0e-4}
        searcher: dict[str, Any] = {"name": "tpe", "seed": 3, "startup_trials": 4}
    else:
        lr = {"type": "categorical", "choices": list(rates), "prior": rates[0]}
        searcher = {"name": "grid"}
    return {
        "name": "rates",
        "base": {"model": {"name": "hpcm_tiny"}, "data": {"train": "sample", "val": "sample_val"}},
        "parameters": {"optimizer.lr": lr},
        "fidelity": {"min": 1, "max": 9, "schedule_horizon": "max"},
        "scheduler": {"name": "promote", "pilots": 0, "control": 0.0},
        "searcher": searcher,
        "budget": {"trials": len(rates) if rates else 8, "concurrent": 2},
        "resources": {"gpu": 0, "cpu": 1},
        **sections,
    }


class Search:
    """One experiment in ``folder/storage`` and the driver that runs it at the moment."""

    def __init__(self, folder: Path, content: dict[str, Any], address: str | None = None) -> None:
        self.folder, self.address = folder, address
        self.storage = folder / "storage"
        self.log = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "rates.yaml").write_text(yaml.safe_dump(content))

    def start(self, *flags: str, seconds: float = 0.1) -> subprocess.Popen[bytes]:
        """A new experiment; with ``--resume last`` among the flags, the one that is there."""
        command = [sys.executable, "-m", "tests.drills.driver", str(self.folder)]
        command += ["--seconds", str(seconds), "--storage", str(self.storage)]
        command += ["--space", str(self.folder / "rates.yaml"), "--profile", "cluster", *flags]
        command += ["--address", self.address] if self.address else []
        return self.launch(command, ROOT)

    def launch(
        self, command: Sequence[str], cwd: Path, more: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Run ``command`` in a session of its own, with ``more`` in its environment."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **(more or {})}
        environment.pop("WANDB_MODE", None)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=cwd, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        return self.process

    def resume(self, *flags: str, seconds: float = 0.1) -> None:
        """Continue it."""
        self.start("--resume", "last", *flags, seconds=seconds)

    @property
    def directory(self) -> Path:
        """The experiment's."""
        return self.storage / experiments(self.storage)[-1]

    def space(self) -> SearchSpace:
        """As it is searched."""
        return read_experiment(self.directory)

    def events(self) -> list[dict[str, Any]]:
        """The ledger so far; nothing before there is one."""
        names = experiments(self.storage) if self.storage.exists() else []
        return list(read_lines(self.storage / names[-1])) if names else []

    def trials(self) -> list[TrialRecord]:
        """As they stand."""
        names = experiments(self.storage) if self.storage.exists() else []
        return read_trials(self.storage / names[-1]) if names else []

    def trained(self) -> list[Trained]:
        """The epochs that were really trained."""
        return trained(self.folder)

    def wait_for(self, what: Callable[[], Any], seconds: float = 100.0) -> Any:
        """The first true answer of ``what``; the driver must live until then."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            alive = self.alive()
            found = what()
            if found:
                return found
            if not alive:
                pytest.fail(f"the driver ended first:\n{self.said()}")
            time.sleep(0.05)
        pytest.fail(f"not within {seconds:g} s:\n{self.said()}\n{self.events()[-5:]}")

    def wait_for_epochs(self, count: int) -> None:
        """Until so many epochs were reported in all."""
        self.wait_for(lambda: sum(t.epochs for t in self.trials()) >= count)

    def between_checkpoints(self) -> Trained | None:
        """The newest epoch, where it is one that a trial has not saved (it saves at its rungs)."""
        newest = next(reversed(self.trained()), None)
        return newest if newest and newest.epoch in (5, 6, 7) else None

    def back(self, trial: int, fault: float) -> float:
        """Seconds from a fault to the next new start of the trial and its first report."""
        later = [e for e in self.events() if e["time"] > fault and e.get("trial") == trial]
        started = next(e["time"] for e in later if e["event"] == "started")
        report = next(e for e in later if e["event"] == "report" and e["time"] >= started)
        return float(report["time"] - fault)

    def alive(self) -> bool:
        """Whether the driver runs."""
        return self.process is not None and self.process.poll() is None

    def send(self, number: signal.Signals, group: bool = False) -> float:
        """A signal to the driver, or to its whole process group; when."""
        assert self.process is not None
        now = time.time()
        (os.killpg if group else os.kill)(self.process.pid, number)
        return now

    def finish(self, seconds: float = 150.0) -> int:
        """Its exit code; the end of what it said is shown where a test fails after this."""
        assert self.process is not None
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"the driver still runs after {seconds:g} s:\n{self.said()}")
        print(self.said())
        return code

    def kill(self) -> float:
        """SIGKILL to the driver and to the Ray that it started; when."""
        now = time.time()
        if self.process is None or not self.alive():
            return now
        family = psutil.Process(self.process.pid).children(recursive=True)
        for process in (self.process, *family):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()
        psutil.wait_procs(family, timeout=10)
        return now

    def said(self) -> str:
        """The end of the driver's output."""
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""
