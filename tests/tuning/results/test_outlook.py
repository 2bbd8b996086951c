"""`budget.stop`: what more trials may gain beside what scores move by, and who then begins none."""

from __future__ import annotations

import random
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

import tuning
from hpcm import ConfigError
from tests.tuning.lr_space import METRIC, lr_space, open_ledger
from tuning.ledger.records import TrialRecord
from tuning.results.outlook import last_doubling, outlook, outlook_lines
from tuning.search.decisions import Idle, Start
from tuning.search.search import Search
from tuning.simulation.drive import Epoch, SimulatedTime, drive
from tuning.spaces.space import SearchSpace

MOVE = 0.01  # sd from epoch to epoch


def test_the_last_doubling_is_the_mean_over_all_halves() -> None:
    scores = [3.0, 1.0, 4.0, 1.5, 9.0, 2.6]
    halves = [min(half) for half in combinations(scores, 3)]
    assert last_doubling(scores, 6) == pytest.approx(fmean(halves) - 1.0)
    cut = [9.0] * 4  # were stopped: as the worst that is whole
    halves = [min(half) for half in combinations([*scores, *cut], 5)]
    assert last_doubling(scores, 10) == pytest.approx(fmean(halves) - 1.0)


class Noisy:
    """Rates differ by ``slope`` a decade, and each epoch by noise."""

    def __init__(self, slope: float) -> None:
        self.slope = slope

    def report(self, params: Mapping[str, Any], seed: int, epoch: int) -> dict[str, float]:
        rate = params["optimizer.lr"]
        noise = random.Random(f"{rate} {epoch}").gauss(0, MOVE)
        return {METRIC: 1 + self.slope * rate / 1e-2 + noise, "val_bpp": 1.0}

    def seconds(self, params: Mapping[str, Any], epoch: int) -> float:
        return 1.0


def space_of(folder: Path, **budget: Any) -> SearchSpace:
    """With pilots, so that trials of equal worth all come to the end."""
    sections = {"searcher": {"name": "random", "seed": 0}, "scheduler": {"name": "promote"}}
    return lr_space(folder, **sections, budget={"trials": 60, **budget})


def test_noise_is_what_epochs_move_a_score_by(tmp_path: Path) -> None:
    fifo = {"name": "fifo"}
    space = lr_space(tmp_path, scheduler=fifo, searcher={"name": "random"}, budget={"trials": 40})
    trials = tuning.simulate(space, Noisy(1.0), slots=2).trials
    found = outlook(trials[:30], space)
    assert found is not None
    assert (found.trials, found.left) == (30, 10)
    assert found.noise == pytest.approx(MOVE, rel=0.3)
    assert outlook(trials[:5], space) is None  # too few
    assert outlook(trials, space) is None  # none is left


def test_a_search_that_gains_less_than_noise_begins_no_more(tmp_path: Path) -> None:
    space = space_of(tmp_path, stop="noise")
    result = tuning.simulate(space, Noisy(slope=0.0), slots=2)
    assert result.complete
    assert 6 <= len(result.trials) < 60
    (line,) = outlook_lines(result.trials, space)
    assert line.endswith("the search begins no more (budget.stop: noise)")
    advised = tuning.simulate(space_of(tmp_path), Noisy(slope=0.0), slots=2)
    assert advised.complete
    assert len(advised.trials) == 60  # it is said, not done
    (line,) = outlook_lines(advised.trials[:40], space_of(tmp_path))
    assert line.endswith("budget.stop=noise would begin no more")


class Luck(Noisy):
    """The k-th config is as good as all before, and a little better: it goes on gaining."""

    def __init__(self) -> None:
        self.known: list[float] = []

    def report(self, params: Mapping[str, Any], seed: int, epoch: int) -> dict[str, float]:
        rate = params["optimizer.lr"]
        if rate not in self.known:
            self.known.append(rate)
        noise = random.Random(f"{rate} {epoch}").gauss(0, MOVE)
        return {METRIC: 5 - self.known.index(rate) / 20 + noise, "val_bpp": 1.0}


def test_a_search_that_gains_more_goes_on(tmp_path: Path) -> None:
    space = space_of(tmp_path, stop="noise")
    assert len(tuning.simulate(space, Luck(), slots=2).trials) == 60


def test_a_resume_decides_as_the_session_before(tmp_path: Path) -> None:
    """Where it ended it ends again; without the key it goes on."""
    source, time = Noisy(slope=0.0), SimulatedTime()

    def begin(start: Start) -> Any:
        for epoch in range(1, 10):
            yield Epoch({**source.report(start.params, 0, epoch), "epoch": float(epoch)})

    space = space_of(tmp_path, stop="noise")
    ledger = open_ledger(tmp_path)
    drive(Search(space, ledger), begin, slots=1, time=time)
    count = len(ledger.records())
    assert count < 60
    ledger.close()
    assert Search(space, again := open_ledger(tmp_path)).next() is Idle.OVER
    found = Search(space_of(tmp_path), again).next()
    assert isinstance(found, Start)
    assert found.trial == count
    again.close()


@pytest.mark.parametrize(
    ("sections", "why"),
    [
        ({"objective": {"pareto": ["val_bpp", "val_psnr"]}}, "a front has no best trial"),
        ({"scheduler": {"name": "pbt"}, "fidelity": {"min": 3}}, "pbt needs its population"),
    ],
)
def test_what_has_no_such_end_is_refused(
    tmp_path: Path, sections: dict[str, Any], why: str
) -> None:
    with pytest.raises(ConfigError, match=rf"budget.stop: noise, but {why}"):
        lr_space(tmp_path, budget={"stop": "noise"}, **sections)


def test_a_ladder_and_a_young_search_have_nothing_to_say(tmp_path: Path) -> None:
    assert outlook_lines([TrialRecord("x", 0, {})], space_of(tmp_path)) == []
