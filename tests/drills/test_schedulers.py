"""Real Ray, a real SIGKILL, a resume: the search ends as one without Ray that was never killed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.tuning.lr_space import lr_space
from tests.tuning.plays import Searched, fates
from tests.tuning.search.test_killed_schedulers import MUTABLE
from tuning.ledger.folders import experiments, read_experiment
from tuning.ledger.ledger import read_trials
from tuning.ledger.records import TrialRecord

pytestmark = [pytest.mark.ray, pytest.mark.cluster, pytest.mark.timeout(280)]

ROOT = Path(__file__).parents[2]
DRIVER = """
import json
import sys
from pathlib import Path
from tests.tuning.hot_training import train
from tests.tuning.lr_space import lr_space
from tuning.on_ray.cluster import cluster
from tuning.on_ray.experiment import run_experiment

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    with cluster(None, dashboard=False):
        result = run_experiment(
            lr_space(folder, **json.loads((folder / "sections.json").read_text())),
            storage=str(folder / "storage"),
            resume="last" if "resume" in sys.argv else None,
            train=train,
        )
    sys.exit(0 if result.complete else 1)
"""
ONE_BY_ONE = {
    "searcher": {"name": "random", "seed": 12},
    "parameters": MUTABLE,
    "budget": {"trials": 6, "concurrent": 1},
}
SECTIONS: dict[str, dict[str, Any]] = {
    "promote": {"scheduler": {"name": "promote", "pilots": 0, "control": 0.2, "seed": 2}},
    "hyperband": {"scheduler": {"name": "hyperband"}},
    "asha": {  # a seed with which a trial goes on after another one was cut
        "scheduler": {"name": "asha", "pilots": 0},
        "searcher": {"name": "random", "seed": 2, "prior_share": 0.5},
    },
    "pbt": {
        "scheduler": {"name": "pbt", "quantile": 0.3},
        "fidelity": {"min": 3, "max": 9},
        "budget": {"trials": 4, "concurrent": 1},
    },
}


class Searches:
    """One search after the other in processes of their own, as the last sections say."""

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

    def search(self, sections: dict[str, Any]) -> None:
        """What the next start searches."""
        (self.folder / "sections.json").write_text(json.dumps(sections))


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Searches]:
    found = Searches(tmp_path)
    yield found
    found.kill()


def waits_and_trains(trials: Sequence[TrialRecord]) -> bool:
    """Some wait at a rung, and one is on its way."""
    return sum(t.paused for t in trials) >= 2 and any(t.state == "running" for t in trials[3:])


def copy_trains(trials: Sequence[TrialRecord]) -> bool:
    """A copy has trained one epoch of its own."""
    return any(t.exploits and t.epochs > t.exploits[-1].epoch for t in trials)


def one_was_cut(trials: Sequence[TrialRecord]) -> bool:
    """A trial was stopped, and another one is on its way between two rungs."""
    on_its_way = any(t.state == "running" and t.epochs in (2, 5) for t in trials)
    return on_its_way and any(t.state == "stopped" for t in trials)


UNTIL: dict[str, Callable[[Sequence[TrialRecord]], bool]] = {
    "promote": waits_and_trains,
    "hyperband": waits_and_trains,
    "asha": one_was_cut,
    "pbt": copy_trains,
}


def kill_when(driver: Searches, until: Callable[[Sequence[TrialRecord]], bool]) -> None:
    """SIGKILL to a search and its Ray once its trials stand so."""
    while not until(driver.trials()):
        assert driver.alive(), driver.said()
        time.sleep(0.02)
    driver.kill()
    assert not all(t.ended for t in driver.trials())


@pytest.mark.parametrize("name", UNTIL)
def test_a_killed_search_ends_as_one_that_was_not(driver: Searches, name: str) -> None:
    sections = ONE_BY_ONE | SECTIONS[name]
    driver.search(sections)
    driver.start(seconds=0.2)
    kill_when(driver, UNTIL[name])

    driver.start("resume", seconds=0)
    assert driver.finish() == 0, driver.said()
    space = read_experiment(driver.directory)
    assert replace(space, path=None) == replace(lr_space(driver.folder, **sections), path=None)
    play = Searched(driver.folder / "play", space)
    assert play.session()
    assert fates(driver.trials()) == fates(play.trials())


def test_a_killed_search_goes_on_with_what_it_learnt_from_an_earlier_one(driver: Searches) -> None:
    """Also where the earlier one is gone by then: what was learnt is kept with the search."""
    drawn = {"name": "random", "seed": 12, "prior_share": 0.5}
    driver.search(ONE_BY_ONE | SECTIONS["asha"] | {"searcher": drawn})
    driver.start(seconds=0)
    assert driver.finish() == 0, driver.said()
    earlier = driver.directory
    learns = {"name": "tpe", "seed": 3, "startup_trials": 4, "warm_start": [earlier.name]}
    learns |= {"prior_share": 0.5, "incumbent_share": 0.0}
    driver.search(ONE_BY_ONE | {"searcher": learns})
    driver.start(seconds=0)
    assert driver.finish() == 0, driver.said()
    straight = driver.trials()
    assert {t.source for t in straight} == {"prior", "tpe", "prior_sample"}

    driver.start(seconds=0.2)
    kill_when(driver, one_was_cut)
    shutil.rmtree(earlier)
    driver.start("resume", seconds=0)
    assert driver.finish() == 0, driver.said()
    assert fates(driver.trials()) == fates(straight)
