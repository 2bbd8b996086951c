"""Real Ray, a real SIGKILL, a resume: the search ends as one without Ray that was never killed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.tuning.lr_space import lr_space
from tests.tuning.plays import Searched, fates
from tests.tuning.schedulers.test_killed_schedulers import MUTABLE
from tests.tuning.test_resume import Driver
from tuning.records import TrialRecord
from tuning.storage import experiments, read_experiment

pytestmark = [pytest.mark.ray, pytest.mark.cluster, pytest.mark.timeout(280)]

DRIVER = """
import json
import sys
from pathlib import Path
from tests.tuning.hot_training import train
from tests.tuning.lr_space import lr_space
from tuning.clusters.cluster import cluster
from tuning.experiment import run_experiment

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
    "promote": {**ONE_BY_ONE, "scheduler": {"name": "promote", "control": 0.2, "seed": 2}},
    "pbt": {
        **ONE_BY_ONE,
        "scheduler": {"name": "pbt", "quantile": 0.3},
        "fidelity": {"min": 4, "max": 9},
        "budget": {"trials": 4, "concurrent": 1},
    },
}


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    found = Driver(tmp_path)
    (tmp_path / "driver.py").write_text(DRIVER)
    yield found
    found.kill()


def waits_and_trains(trials: Sequence[TrialRecord]) -> bool:
    """Some wait at a rung, and one is on its way."""
    return sum(t.paused for t in trials) >= 2 and any(t.state == "running" for t in trials[3:])


def copy_trains(trials: Sequence[TrialRecord]) -> bool:
    """A copy has trained one epoch of its own."""
    return any(t.exploits and t.epochs > t.exploits[-1].epoch for t in trials)


@pytest.mark.parametrize(("name", "until"), [("promote", waits_and_trains), ("pbt", copy_trains)])
def test_a_killed_search_ends_as_one_that_was_not(
    driver: Driver, name: str, until: Callable[[Sequence[TrialRecord]], bool]
) -> None:
    (driver.folder / "sections.json").write_text(json.dumps(SECTIONS[name]))
    driver.start(seconds=0.2)
    while not until(driver.trials()):
        assert driver.alive(), (driver.folder / "log").read_text()[-2000:]
        time.sleep(0.02)
    driver.kill()
    before = driver.trials()
    assert not all(t.ended for t in before)

    driver.start("resume", seconds=0)
    assert driver.finish() == 0, (driver.folder / "log").read_text()[-2000:]
    space = read_experiment(driver.folder / "storage" / experiments(driver.folder / "storage")[-1])
    assert replace(space, path=None) == replace(
        lr_space(driver.folder, **SECTIONS[name]), path=None
    )
    play = Searched(driver.folder / "play", space)
    assert play.session()
    assert fates(driver.trials()) == fates(play.trials())
