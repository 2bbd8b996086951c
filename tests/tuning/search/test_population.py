"""Population-based training on curves drawn by hand: who copies whom, what, and from where."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hpcm.schema import ConfigError
from tests.tuning.hot_training import saver
from tests.tuning.ledger_lines import read_lines
from tests.tuning.lr_space import METRIC, lr_space, open_ledger, report
from tests.tuning.plays import Searched
from tests.tuning.search.test_killed_schedulers import MUTABLE
from tuning.checkpoints.store import CheckpointStore
from tuning.ledger.events import Failed, Proposed, Reopened
from tuning.ledger.ledger import Ledger
from tuning.search.decisions import Decision, Idle
from tuning.search.search import Search
from tuning.spaces.space import SearchSpace

SCORES = {0: 9.0, 1: 4.0, 2: 1.0, 3: 5.0, 4: 2.0, 5: 8.0}  # at epoch 3; the prior is the worst


def pbt_space(folder: Path, **sections: Any) -> SearchSpace:
    given: dict[str, Any] = {
        "scheduler": {"name": "pbt", "quantile": 0.33, "resample": 0.0},
        "budget": {"trials": 6, "concurrent": 2},
        "fidelity": {"min": 3, "max": 9},
        "parameters": MUTABLE,
    }
    return lr_space(folder, **given | sections)


class Population:
    """Six trials with rates 1e-4 .. 6e-4, told by hand."""

    def __init__(self, folder: Path, space: SearchSpace) -> None:
        self.space, self.directory = space, folder / "rates-x"
        self.ledger: Ledger = open_ledger(folder)
        for number in SCORES:
            self.ledger.append(Proposed(number, params={"optimizer.lr": (number + 1) * 1e-4}))
        self.search = Search(self.space, self.ledger, self.copy)
        self.promoted()

    def copy(self, trial: int, donor: int, epoch: int) -> None:
        self.store(trial).adopt(self.store(donor), epoch)

    def store(self, number: int) -> CheckpointStore:
        return CheckpointStore(self.directory, f"rates-{number:04d}")

    def tell(self, number: int, epoch: int, value: float, restored: bool = False) -> Decision:
        metrics = report(epoch, value)
        if epoch % 3 == 0 and not restored:
            self.store(number).save(epoch, metrics, saver(epoch, value))
        return self.search.report(number, metrics, restored=restored)

    def promoted(self) -> list[int]:
        """Start what may be started; the numbers in this order."""
        found = []
        while not isinstance(start := self.search.next(), Idle):
            found.append(start.trial)
            self.search.started(start.trial)
        return found

    def weights(self, number: int) -> float:
        newest = next(self.store(number).newest_first())
        return float(json.loads((newest.folder / "state.json").read_text())["loss"])

    def exploits(self) -> list[tuple[int, int]]:
        events = read_lines(self.directory)
        return [(e["trial"], e["donor"]) for e in events if e["event"] == "exploited"]


@pytest.fixture
def population(tmp_path: Path) -> Iterator[Population]:
    found = Population(tmp_path, pbt_space(tmp_path))
    yield found
    found.ledger.close()


def test_all_wait_for_the_last_and_the_worst_become_copies_of_the_best(
    population: Population,
) -> None:
    """Best to worst: 2, 4, 1, 3, 5, 0. A third of six is two; the prior stays what it is."""
    *early, last = SCORES
    for number in early:
        assert population.tell(number, 2, 99.0) is Decision.GO_ON
        assert population.tell(number, 3, SCORES[number]) is Decision.WAIT
    assert population.promoted() == []
    assert population.ledger.trials[0].reason == "waits at epoch 3 for 5 others"
    assert population.tell(last, 3, SCORES[last]) is Decision.WAIT  # it is one of the worst
    assert population.ledger.trials[last].reason == "starts anew from epoch 3"
    ((copy, donor),) = population.exploits()
    assert copy == 5
    assert donor in (2, 4)
    record, other = population.ledger.trials[5], population.ledger.trials[donor]
    assert population.weights(5) == SCORES[donor]
    rate, source = record.params["optimizer.lr"], other.params["optimizer.lr"]
    assert rate == pytest.approx(source * 0.8) or rate == pytest.approx(source * 1.2)
    assert record.params_at(3) == {"optimizer.lr": 6 * 1e-4}
    assert record.params_at(4) == record.params
    assert record.curve(METRIC)[3] == SCORES[5]  # what it was is not rewritten
    assert population.promoted() == [2, 4, 1, 3, 5, 0]


def test_the_last_to_come_goes_on_at_once_where_it_stays_itself(population: Population) -> None:
    for number in (5, 4, 3, 2, 0):
        assert population.tell(number, 3, SCORES[number]) is Decision.WAIT
    assert population.tell(1, 3, SCORES[1]) is Decision.GO_ON
    assert population.promoted() == [2, 4, 3, 5, 0]
    assert population.tell(1, 4, 3.0) is Decision.GO_ON
    assert population.tell(1, 6, 3.0) is Decision.WAIT  # and waits for the next


def test_what_a_copy_says_first_is_its_donors_epoch(population: Population) -> None:
    for number, value in SCORES.items():
        population.tell(number, 3, value)
    population.promoted()
    ((_, donor),) = population.exploits()
    assert population.tell(5, 3, SCORES[donor], restored=True) is Decision.GO_ON
    assert population.tell(5, 4, 0.5) is Decision.GO_ON
    assert population.ledger.trials[5].curve(METRIC) == {3: SCORES[5], 4: 0.5}


def test_a_copy_whose_checkpoint_is_lost_does_not_start_from_nothing(
    population: Population,
) -> None:
    for number, value in SCORES.items():
        population.tell(number, 3, value)
    population.promoted()
    ((_, donor),) = population.exploits()
    assert population.tell(5, 1, 50.0) is Decision.FAIL
    record = population.ledger.trials[5]
    assert record.state == "failed"
    assert record.reason == f"what it copied from trial {donor} at epoch 3 is lost"


def test_a_donor_without_a_checkpoint_is_not_copied(population: Population) -> None:
    for number, value in SCORES.items():
        if number == 5:
            for donor in (2, 4):
                shutil.rmtree(population.directory / "checkpoints" / f"rates-{donor:04d}")
        population.tell(number, 3, value)
    assert population.exploits() == []
    assert population.weights(5) == SCORES[5]
    assert sorted(population.promoted()) == [0, 1, 2, 3, 4]  # 5 came last and goes on
    lines = [e for e in read_lines(population.directory) if e["event"] == "exploit_failed"]
    assert [e["trial"] for e in lines] == [5]
    assert lines[0]["reason"].startswith(f"no copy of trial {lines[0]['donor']}: ")


def test_a_failed_trial_is_not_waited_for(population: Population) -> None:
    for number in (1, 2, 3, 4, 5):
        population.tell(number, 3, SCORES[number])
    assert population.promoted() == []
    assert population.tell(0, 2, float("nan")) is Decision.FAIL
    assert population.promoted() == [2, 4, 1, 3, 5]
    assert len(population.exploits()) == 2  # of five a third is two: 3 and 5


def test_who_comes_late_changes_only_himself(tmp_path: Path) -> None:
    """Trial 4 failed before the comparison, and a resume gave it another chance.

    The others are beyond epoch 3 by then: their checkpoints, configs and curves stay.
    """
    fifth = {"name": "pbt", "quantile": 0.2, "resample": 0.0}  # of five: the prior, which stays
    population = Population(tmp_path, pbt_space(tmp_path, scheduler=fifth))
    for number in (0, 1, 2, 3, 5):
        population.tell(number, 3, SCORES[number])
    population.ledger.append(Failed(4, reason="refused: no such folder"))
    population.promoted()
    assert population.exploits() == []
    for number, value in ((2, 0.8), (1, 3.5), (3, 1.1), (5, 1.2), (0, 8.0)):
        population.tell(number, 6, value)
    weights = [population.weights(n) for n in (0, 1, 2, 3, 5)]
    params = [population.ledger.trials[n].params for n in (0, 1, 2, 3, 5)]
    population.ledger.append(Reopened(4))
    population.tell(4, 3, 0.1)  # the best, and of six two are the worst: 5 and the prior
    assert population.exploits() == []
    assert [population.weights(n) for n in (0, 1, 2, 3, 5)] == weights
    assert [population.ledger.trials[n].params for n in (0, 1, 2, 3, 5)] == params
    population.ledger.close()


def test_a_population_of_one_quantile_is_left_alone(tmp_path: Path) -> None:
    space = pbt_space(tmp_path, budget={"trials": 2, "concurrent": 1})
    play = Searched(tmp_path, space)
    assert play.session()
    donors = {e.donor for t in play.trials() for e in t.exploits}
    assert donors <= {0}  # the prior may be copied, and copies nobody
    assert play.trials()[0].params == space.prior()


def test_a_population_learns_more_than_its_members_alone(tmp_path: Path) -> None:
    """From rates that are far off, in a game where a rate's worth is its distance to 1e-4."""
    results = {}
    for name, section in (("pbt", {"name": "pbt", "seed": 4}), ("fifo", {"name": "fifo"})):
        folder = tmp_path / name
        folder.mkdir()
        space = pbt_space(
            folder,
            scheduler=section,
            fidelity={"min": 3 if name == "pbt" else 1, "max": 30},
            searcher={"name": "random", "seed": 7, "prior_share": 0.0},
            budget={"trials": 8, "concurrent": 3},
        )
        play = Searched(folder, space)
        assert play.session()
        results[name] = sorted(t.last[METRIC] for t in play.trials())
    assert results["pbt"][0] <= results["fifo"][0]
    assert sum(results["pbt"]) < sum(results["fifo"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"parameters": {"optimizer.lr": {**MUTABLE["optimizer.lr"], "mutable": False}}},
            r"scheduler\.name: pbt, but no parameter is mutable",
        ),
        ({"budget": {"trials": 1}}, r"budget\.trials: 1; pbt needs a population of 2 or more"),
        ({"fidelity": {"min": 9, "max": 9}}, r"fidelity\.min: 9, which is fidelity\.max"),
        ({"scheduler": {"name": "pbt", "quantile": 0.6}}, r"quantile: 0\.6; must be above 0"),
        ({"scheduler": {"name": "pbt", "step": 1.0}}, r"step: 1; must be above 0 and below 1"),
        ({"scheduler": {"name": "pbt", "resample": 1.5}}, r"resample: 1\.5; must be 0 to 1"),
    ],
)
def test_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        pbt_space(tmp_path, **change)


def test_the_population_of_an_experiment_keeps_its_size(tmp_path: Path) -> None:
    space = pbt_space(tmp_path)
    more = pbt_space(tmp_path, budget={"trials": 7})
    (change,) = space.diff(more)
    assert change.path == "budget.trials"
    assert change.breaks
    (change,) = lr_space(tmp_path).diff(lr_space(tmp_path, budget={"trials": 9}))
    assert not change.breaks
