"""A whole search against computed curves, in simulated time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import tuning
from tests.tuning.lr_space import METRIC, lr_space, open_ledger, report
from tests.tuning.search.test_killed_schedulers import MUTABLE
from tuning.results.outcome import ExperimentResult
from tuning.search.decisions import Idle, Start
from tuning.search.search import Search
from tuning.simulation.drive import Epoch, SimulatedTime, drive
from tuning.simulation.simulate import Costs
from tuning.spaces.space import SearchSpace


class Curves:
    """A score that falls with the epoch, the lower the nearer the rate is to 1e-4."""

    def __init__(self, seconds: float = 60.0) -> None:
        self.epoch_seconds = seconds
        self.asked: list[tuple[float, int, int]] = []  # rate, seed and epoch, in order

    def report(self, params: Mapping[str, Any], seed: int, epoch: int) -> dict[str, float]:
        rate = params["optimizer.lr"]
        self.asked.append((rate, seed, epoch))
        score = 1 + abs(math.log10(rate / 1e-4)) + 1 / epoch + seed / 1000
        return {METRIC: score, "val_bpp": score / 2}

    def seconds(self, params: Mapping[str, Any], epoch: int) -> float:
        return self.epoch_seconds


class Diverging(Curves):
    """Rates above 1e-3 diverge at once."""

    def report(self, params: Mapping[str, Any], seed: int, epoch: int) -> dict[str, float]:
        metrics = super().report(params, seed, epoch)
        return metrics | ({METRIC: math.nan} if params["optimizer.lr"] > 1e-3 else {})


def space_of(folder: Path, name: str = "promote", **sections: Any) -> SearchSpace:
    given: dict[str, Any] = {
        "scheduler": {"name": name},
        "searcher": {"name": "random", "seed": 9},
        "parameters": MUTABLE,
        "fidelity": {"min": 3 if name == "pbt" else 1, "max": 9},
    }
    return lr_space(folder, **given | sections)


def outcome(result: ExperimentResult) -> list[tuple[Any, ...]]:
    return [
        (t.number, t.state, t.reason, t.rung_stopped_at, t.params, t.reports, t.exploits)
        for t in result.trials
    ]


NAMES = ("fifo", "asha", "promote", "hyperband", "pbt")


@pytest.mark.parametrize("name", NAMES)
def test_the_same_arguments_give_the_same_result(tmp_path: Path, name: str) -> None:
    space = space_of(tmp_path, name)
    first, again = (tuning.simulate(space, Curves(), slots=3, seed=5) for _ in range(2))
    assert outcome(first) == outcome(again)
    assert first.complete
    assert not first.interrupted
    other = tuning.simulate(space, Curves(), slots=3, seed=6)
    assert [t.params for t in other.trials[1:]] != [t.params for t in first.trials[1:]]
    assert other.trials[0].params == first.trials[0].params == space.prior()


def test_the_prior_is_trial_0_and_the_best_is_nearest_to_the_optimum(tmp_path: Path) -> None:
    result = tuning.simulate(space_of(tmp_path, "fifo"), Curves(), slots=1, trials=12)
    assert len(result.trials) == 12
    assert result.best is not None
    nearest = min(result.trials, key=lambda t: abs(math.log10(t.params["optimizer.lr"] / 1e-4)))
    assert result.best is nearest
    assert result.hours_spent == pytest.approx(12 * 9 * 60 / 3600)


def test_a_pruned_search_costs_less_than_a_whole_one(tmp_path: Path) -> None:
    result = tuning.simulate(space_of(tmp_path), Curves(), slots=2, trials=20)
    assert result.complete
    assert result.hours_spent < 0.7 * result.hours_full


@pytest.mark.parametrize("name", NAMES)
def test_one_that_diverges_fails_and_the_search_goes_on(tmp_path: Path, name: str) -> None:
    result = tuning.simulate(space_of(tmp_path, name), Diverging(), slots=2, seed=2)
    assert result.complete
    failed = [t for t in result.trials if t.diverged]
    assert failed
    assert {t.number for t in failed} == {t.number for t in result.trials if t.state == "failed"}
    for trial in failed:
        assert trial.params["optimizer.lr"] > 1e-3
        assert trial.reason == f"{METRIC} is nan at epoch {trial.epochs}"
    assert any(t.state == "finished" for t in result.trials)


def test_the_hours_of_the_budget_end_it_in_simulated_time(tmp_path: Path) -> None:
    """Half an hour of two slots has room for 60 epochs of a minute."""
    budget = {"trials": 50, "hours": 0.5}
    source = Curves()
    result = tuning.simulate(space_of(tmp_path, "fifo", budget=budget), source, slots=2)
    assert 60 <= len(source.asked) <= 64  # both slots finish what they have begun
    assert result.complete
    assert len(result.trials) < 50
    cut = [t for t in result.trials if t.state == "stopped"]
    assert [t.reason for t in cut] == ["the 0.5 hours are spent"] * len(cut)
    assert cut
    assert all(t.ended for t in result.trials)


def test_more_slots_do_more_in_the_same_hours(tmp_path: Path) -> None:
    space = space_of(tmp_path, "fifo", budget={"trials": 50, "hours": 0.5})
    counts = [len(tuning.simulate(space, Curves(), slots=n).trials) for n in (1, 2, 8)]
    assert counts == sorted(set(counts))


def test_a_start_takes_its_seconds(tmp_path: Path) -> None:
    """One slot, one hour; an epoch takes a minute and a start six."""
    space = space_of(tmp_path, "fifo", budget={"trials": 50, "hours": 1.0})
    source = Curves()
    tuning.simulate(space, source, slots=1, costs=Costs(start=360.0))
    assert len(source.asked) in (36, 37)  # four trials of 15 minutes


def test_finalists_are_confirmed_on_their_seeds(tmp_path: Path) -> None:
    source = Curves()
    space = space_of(tmp_path, confirm={"top": 2, "seeds": [70, 80]})
    result = tuning.simulate(space, source, slots=2, seed=5)
    assert result.complete
    assert result.confirmation is not None
    assert [f.trial.number for f in result.confirmation.finalists][0] == 0
    assert {seed for _, seed, _ in source.asked} == {5, 70, 80}
    best = result.confirmation.best
    assert best is not None
    assert best.trial is result.best


def test_a_population_copies_and_goes_on_from_its_donors_score(tmp_path: Path) -> None:
    result = tuning.simulate(space_of(tmp_path, "pbt"), Curves(), slots=2, seed=5)
    copies = [t for t in result.trials if t.exploits]
    assert copies
    assert all(t.epochs == 9 for t in result.trials)
    for trial in copies:
        exploit = trial.exploits[-1]
        assert exploit.params == trial.params != trial.params_at(exploit.epoch)


def epochs_of(seconds: Mapping[int, float]) -> Callable[[Start], Iterator[Epoch]]:
    """Trials whose epochs take these seconds, by number."""

    def begin(start: Start) -> Iterator[Epoch]:
        for epoch in range(1, 10):
            yield Epoch(report(epoch, 1.0), seconds[start.trial])

    return begin


def order(folder: Path, seconds: Mapping[int, float]) -> list[int]:
    """Who reported first, second, ..: of a search of three at a time."""
    ledger = open_ledger(folder)
    space = lr_space(folder, scheduler={"name": "fifo"}, budget={"trials": 3})
    heard: list[int] = []
    ledger.listeners.append(lambda trial: heard.append(trial.number) if trial.reports else None)
    drive(Search(space, ledger), epochs_of(seconds), slots=3, time=SimulatedTime())
    ledger.close()
    return heard


def test_who_is_ready_at_the_same_time_reports_by_number(tmp_path: Path) -> None:
    assert order(tmp_path, dict.fromkeys(range(3), 1.0))[:6] == [0, 1, 2, 0, 1, 2]


def test_who_is_faster_reports_more_often(tmp_path: Path) -> None:
    assert order(tmp_path, {0: 5.0, 1: 2.0, 2: 2.0})[:7] == [1, 2, 1, 2, 0, 1, 2]


def test_a_search_that_would_wait_for_ever_raises(tmp_path: Path) -> None:
    class Deaf(Search):
        def next(self) -> Start | Idle:
            return Idle.NOT_NOW

    ledger = open_ledger(tmp_path)
    search = Deaf(lr_space(tmp_path), ledger)
    with pytest.raises(RuntimeError, match="it would wait for ever"):
        drive(search, epochs_of({}), slots=1, time=SimulatedTime())
    ledger.close()


def test_trials_whose_processes_say_nothing_fail_and_the_search_ends(tmp_path: Path) -> None:
    """Five in a row: it is not the trials."""
    ledger = open_ledger(tmp_path)
    search = Search(lr_space(tmp_path), ledger)
    drive(search, lambda start: iter(()), slots=2, time=SimulatedTime())
    assert search.closing == "broken"
    assert str(search.problem).startswith("5 trials failed one after the other")
    assert [t.state for t in ledger.records() if t.ended] == ["failed"] * 5
    ledger.close()
