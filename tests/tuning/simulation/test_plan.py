"""Plans of a search: that they fit, that rungs alone decide the same, what is refused, written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import tuning
from hpcm import ConfigError
from tests.tuning.lr_space import METRIC, lr_space
from tuning.results.outcome import ExperimentResult
from tuning.simulation.at_rungs import AtRungs, space_at_rungs
from tuning.simulation.family import PRESETS, Family
from tuning.simulation.judged import excess_over_best, refuse_unjudged
from tuning.simulation.plan import (
    MOST_TRIALS,
    Compute,
    Forecast,
    Simulated,
    best_of,
    candidates,
    cheapest,
    forecasts,
)
from tuning.simulation.recorded import Recorded
from tuning.spaces.space import SearchSpace

COMPUTE = Compute(hours=6.0, devices=2.0, epoch_seconds=60.0)


def space_of(folder: Path, **sections: Any) -> SearchSpace:
    """Rungs 3, 9, 27."""
    given: dict[str, Any] = {
        "fidelity": {"min": 3, "max": 27},
        "scheduler": {"name": "promote"},
        "searcher": {"name": "tpe"},
    }
    return lr_space(folder, **given | sections)


def good(space: SearchSpace, seed: int = 0) -> Family:
    return Family(space, PRESETS["good"], landscape=seed)


def source_of(space: SearchSpace) -> Any:
    return lambda seed: (good(space, seed), 1.0)


# --- at rungs alone ------------------------------------------------------------------------------


@pytest.mark.parametrize("scheduler", ["promote", "asha", "hyperband", "fifo"])
def test_rungs_alone_decide_the_same(tmp_path: Path, scheduler: str) -> None:
    """Without lots, and if nothing diverges."""
    fidelity = {"min": 1 if scheduler == "fifo" else 3, "max": 27}
    section = {"name": scheduler} | ({"control": 0.0} if scheduler == "promote" else {})
    space = space_of(tmp_path, scheduler=section, fidelity=fidelity)
    source = Family(space, replace(PRESETS["good"], diverging=0.0))
    whole = tuning.simulate(space, source, slots=1, seed=3, trials=12)
    small = space_at_rungs(space)
    few = tuning.simulate(small, AtRungs(space, source), slots=1, seed=3, trials=12)
    assert small.rungs() == tuple(rung // 3 for rung in space.rungs()) or scheduler == "fifo"
    assert [(t.params, t.state) for t in few.trials] == [(t.params, t.state) for t in whole.trials]
    assert few.hours_spent == pytest.approx(whole.hours_spent)
    assert few.best
    assert whole.best
    assert few.best.number == whole.best.number
    assert few.best.last[METRIC] == whole.best.last[METRIC]


def test_uneven_rungs_and_seconds(tmp_path: Path) -> None:
    """Rungs 3, 6, 12, 20: the last simulated epochs stand for what is left."""
    space = space_of(
        tmp_path,
        scheduler={"name": "promote", "reduction_factor": 2},
        fidelity={"min": 3, "max": 20},
    )
    source = AtRungs(space, good(space), scale=2.0)
    assert space_at_rungs(space).rungs() == (1, 2, 4, 8)
    assert source.epochs == [0, 3, 6, 9, 12, 15, 18, 20, 20]
    prior = space.prior()
    each = [source.seconds(prior, epoch) for epoch in range(1, 9)]
    assert sum(each) == pytest.approx(2 * 20 * source.source.seconds(prior, 1))
    assert each[-1] == 0.0


def test_a_run_that_diverges_costs_what_it_trained(tmp_path: Path) -> None:
    """At once, or within the second rung."""
    space = space_of(tmp_path)
    source = AtRungs(space, good(space))
    bad, whole = {"optimizer.lr": 9.9e-3}, space.prior()
    assert source.seconds(bad, 1) == pytest.approx(source.source.seconds(bad, 1))
    assert source.seconds(whole, 1) == pytest.approx(3 * source.source.seconds(whole, 1))

    class Later(Family):
        def report(self, params: Any, seed: int, epoch: int) -> dict[str, float]:
            return super().report(bad if epoch > 7 else whole, seed, epoch)

    source = AtRungs(space, Later(space, PRESETS["good"]))
    each = [source.seconds(whole, epoch) / source.source.seconds(whole, 1) for epoch in (1, 2, 3)]
    assert each == pytest.approx([3, 3, 2])


# --- candidates ----------------------------------------------------------------------------------


def test_candidates_fit_and_differ(tmp_path: Path) -> None:
    space = space_of(tmp_path)
    plans = candidates(space, COMPUTE)
    assert len(plans) == 12
    assert {plan.label for plan in plans} == {
        *("as written", "one late rung", "halving, late", "no rungs"),
    }
    found = {(p.space.rungs(), p.space.budget.trials, p.space.confirm.top) for p in plans}
    assert len(found) == len(plans)
    for plan in plans:
        assert plan.space.budget.concurrent == 2
        assert 2 <= plan.space.budget.trials <= MOST_TRIALS
        assert plan.space.parameters == space.parameters
    sizes = [p.space.budget.trials for p in plans if p.label == "no rungs"]
    assert sizes == [13, 6, 3]  # of 27 minutes each


def test_one_that_is_as_written_is_no_second_plan(tmp_path: Path) -> None:
    space = space_of(tmp_path, fidelity={"min": 9, "max": 27})
    labels = [plan.label for plan in candidates(space, COMPUTE)]
    assert "one late rung" not in labels


@pytest.mark.parametrize(
    ("compute", "message"),
    [
        ({"hours": 0.5}, r"--cpu-hours 0.5: too few for a search; rates needs 0.\d+ for the prior"),
        ({"devices": 0.5}, r"--cpus 0.5: a trial of rates takes 1"),
        ({"hours": 20.0}, r"--cpu-hours 20: 10 h on 2 devices, and budget.hours ends a search"),
    ],
)
def test_means_that_buy_no_search(tmp_path: Path, compute: dict[str, float], message: str) -> None:
    space = space_of(tmp_path, budget={"hours": 5})
    with pytest.raises(ConfigError, match=message):
        candidates(space, replace(COMPUTE, **compute))


def test_a_population_has_no_rungs_to_choose(tmp_path: Path) -> None:
    lr = {"type": "float", "low": 1e-6, "high": 1e-2, "log": True, "prior": 2e-4, "mutable": True}
    space = space_of(tmp_path, scheduler={"name": "pbt"}, parameters={"optimizer.lr": lr})
    with pytest.raises(ConfigError, match=r"rates: scheduler.name: pbt; a plan chooses rungs"):
        candidates(space, COMPUTE)


# --- forecasts -----------------------------------------------------------------------------------


def only_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The space as it is written, and no other plan."""
    monkeypatch.setattr("tuning.simulation.plan.candidates", lambda *given: candidates(*given)[:1])


def test_forecasts_of_every_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space, seen = space_of(tmp_path), []
    found = forecasts(space, COMPUTE, [source_of(space)], 2, lambda *done: seen.append(done))
    only_first(monkeypatch)
    assert forecasts(space, COMPUTE, [source_of(space)], 2) == found[:1]
    assert seen[-1] == (36, 36)
    for one in found:
        assert len(one.searches) == 2
        assert one.mean("hours") <= COMPUTE.hours * 1.35  # a rung keeps one at least
        for search in one.searches:
            assert search.excess >= 0
            assert 0 < search.use <= 1
            assert search.wall >= search.hours / 2
            assert not (search.lost and one.plan.label == "no rungs")
    assert best_of(found).excess == min(one.excess for one in found)


def test_starts_take_time_and_no_hours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only_first(monkeypatch)
    space = space_of(tmp_path)
    quick, slow = (
        forecasts(space, replace(COMPUTE, start_seconds=s), [source_of(space)], 1)[0]
        for s in (0.0, 600.0)
    )
    assert slow.mean("wall") > quick.mean("wall")
    assert slow.mean("use") < quick.mean("use")


def of_excess(plan: Any, excess: float, hours: float) -> Forecast:
    searches = (Simulated(excess - 0.1, False, hours, 1.0, 1.0),
                Simulated(excess + 0.1, True, hours, 1.0, 1.0))  # fmt: skip
    return Forecast(plan, searches)


def test_the_cheapest_that_reaches_the_target(tmp_path: Path) -> None:
    plan = candidates(space_of(tmp_path), COMPUTE)[0]
    dear, near, cheap = (of_excess(plan, *x) for x in ((1.0, 9.0), (1.05, 5.0), (2.0, 1.0)))
    assert dear.error == pytest.approx(0.1)
    assert dear.lost[0] == 0.5
    found = [dear, near, cheap]
    assert best_of(found) is dear
    assert cheapest(found, None) == (pytest.approx(1.1), near)  # within a standard error
    assert cheapest(found, 3.0) == (3.0, cheap)
    assert cheapest(found, 0.5) == (0.5, None)


# --- an experiment as the source -----------------------------------------------------------------


def searched(space: SearchSpace) -> ExperimentResult:
    return tuning.simulate(space, good(space), slots=2, trials=6)


def test_an_experiment_is_judged_by_its_best_trial(tmp_path: Path) -> None:
    space = space_of(tmp_path, scheduler={"name": "fifo"}, fidelity={"min": 1, "max": 9})
    result = searched(space)
    excess = excess_over_best(Recorded(space, result.trials, "made"), space, result)
    ends = {t.number: t.last[METRIC] for t in result.trials if t.state == "finished"}
    assert result.best
    assert excess(result.best.params) == 0.0
    ended = [trial for trial in result.trials if trial.state == "finished"]
    assert len(ended) > 1
    for trial in ended:
        expected = 100 * (ends[trial.number] / min(ends.values()) - 1)
        assert excess(trial.params) == pytest.approx(expected)


def test_decibels_are_no_percent(tmp_path: Path) -> None:
    objective = {"metric": "val_psnr", "mode": "max"}
    space = space_of(tmp_path, objective=objective)
    recorded = Recorded(space, searched(space).trials, "made")
    with pytest.raises(ConfigError, match=r"--simulate made: its regret would be in dB"):
        refuse_unjudged(recorded, space)
