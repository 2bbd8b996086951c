"""Draws around the prior: where they fall, how their share falls, and what decides them."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import tuning
from tests.tuning.lr_space import METRIC, lr_space, report
from tests.tuning.small_spaces import put
from tuning import load_space
from tuning.ledger.records import TrialRecord
from tuning.search.prior_sampling import KEPT, around_best, around_prior, near, prior_share
from tuning.search.random_draws import Random
from tuning.search.samplers import at_last_rung
from tuning.search.tpe_section import Tpe
from tuning.spaces.coordinates import Coordinate
from tuning.spaces.draws import draw
from tuning.spaces.parameters import Float, Simplex
from tuning.spaces.space import SearchSpace

DRAWS = 4_000


def draws(coordinate: Coordinate, width: float = 0.25) -> list[Any]:
    generator = random.Random(5)
    return [near(coordinate, coordinate.prior, width, KEPT, generator) for _ in range(DRAWS)]


def test_the_share_halves_with_the_results() -> None:
    section = Tpe(prior_share=0.6, prior_trials=10)
    assert [prior_share(section, n) for n in (0, 10, 30)] == pytest.approx([0.6, 0.3, 0.15])
    assert prior_share(Random(prior_share=0.0), 0) == 0.0


@pytest.mark.parametrize("prior", [1.0e-6, 1.0e-4, 1.0e-2])
def test_numbers_on_a_log_scale_are_around_their_prior_and_inside(prior: float) -> None:
    coordinate = Coordinate("x", "float", prior, low=1.0e-6, high=1.0e-2, log=True)
    found = draws(coordinate, width=0.1)
    assert found.count(prior) / DRAWS == pytest.approx(0.5, abs=0.03)
    shares = [coordinate.share(value) for value in found if value != prior]
    assert min(shares) >= 0
    assert max(shares) <= 1
    middle = coordinate.share(prior)
    expected = {0.0: 0.0674, 0.5: 0.5, 1.0: 1 - 0.0674}[round(middle, 6)]  # median, half a normal
    assert statistics.median(shares) == pytest.approx(expected, abs=0.01)


def test_whole_numbers_keep_their_prior_as_the_most_likely() -> None:
    coordinate = Coordinate("n", "int", 3, low=1, high=9)
    found = draws(coordinate)
    assert set(found) == set(range(1, 10))
    assert statistics.mode(found) == 3
    wide = [coordinate.at((i + 0.5) / 900) for i in range(900)]
    assert {n: wide.count(n) for n in range(1, 10)} == dict.fromkeys(range(1, 10), 100)


@pytest.mark.parametrize("count", [2, 5])
def test_the_prior_gets_most_of_a_choice(count: int) -> None:
    coordinate = Coordinate("c", "categorical", "c1", choices=tuple(f"c{i}" for i in range(count)))
    found = draws(coordinate)
    assert set(found) == set(coordinate.choices)
    assert found.count("c1") / DRAWS == pytest.approx(0.5 + 0.5 / count, abs=0.02)


@pytest.mark.parametrize(("zero", "prior"), [(0.05, 0.0), (0.7, 0.0), (0.7, 0.1)])
def test_the_coin_of_zero_falls_on_the_priors_side_most(zero: float, prior: float) -> None:
    """A normal around the coin would nearly always miss a zero that is 5 % likely."""
    coin, value = Float(low=0.01, high=0.3, zero=zero, prior=prior).coordinates("delta")
    zeros = sum(draw < zero for draw in draws(coin)) / DRAWS
    expected = 0.5 * (prior == 0) + 0.5 * zero
    assert zeros == pytest.approx(expected, abs=0.02)
    assert value.has_no_prior == (prior == 0)  # then the distribution itself is drawn from
    assert (
        value.has_no_prior or statistics.pstdev(value.share(draw) for draw in draws(value)) < 0.18
    )


def test_a_simplex_stays_one_and_is_around_its_prior() -> None:
    simplex = Simplex(size=3, prior=(0.2, 0.5, 0.3), low=0.05)
    generator = random.Random(2)
    found = [
        simplex.read(
            "w", lambda coordinate: near(coordinate, coordinate.prior, 0.1, KEPT, generator)
        )
        for _ in range(2_000)
    ]
    assert all(simplex.contains(one) for one in found)
    means = [statistics.mean(one[k] for one in found) for k in range(3)]
    assert means == pytest.approx([0.2, 0.5, 0.3], abs=0.03)


def test_whole_configs_can_be_built_and_all_branches_are_seen(space: SearchSpace) -> None:
    generator, section = random.Random(3), Tpe()
    found = [around_prior(space, section, generator) for _ in range(400)]
    for flat in found:
        assert space.active(flat) == flat
        space.config(flat)
    assert {path for flat in found for path in flat} == {c.path for c in space.coordinates()}
    near_prior = sum(flat["balancer.name"] == "famo_per_scale" for flat in found) / len(found)
    assert near_prior == pytest.approx(2 / 3, abs=0.07)


def test_what_was_tried_is_not_tried_again(space_file: Callable[..., Path]) -> None:
    choices = {"type": "categorical", "choices": ["sum", "famo"], "prior": "famo"}
    space = load_space(space_file(put("parameters", {"balancer.name": choices})))
    tried = [space.prior()]
    for seed in range(20):
        flat = around_prior(space, Tpe(), random.Random(seed), tried)
        assert flat == {"balancer.name": "sum"}
    everything = [{"balancer.name": name} for name in ("sum", "famo")]
    assert around_prior(space, Tpe(), random.Random(0), everything) in everything


# --- around the best trial ------------------------------------------------------------------------


def test_around_the_best_most_values_are_its_own(space: SearchSpace) -> None:
    """Three quarters of them; what is not active in it is drawn from its distribution."""
    generator = random.Random(4)
    best = draw(space, generator)
    found = [around_best(space, best, generator) for _ in range(400)]
    numbers = {c.path for c in space.coordinates() if c.type == "float" and c.split is None}
    kept = [
        flat[path] == best[path] for flat in found for path in flat.keys() & best.keys() & numbers
    ]
    assert sum(kept) / len(kept) == pytest.approx(0.75, abs=0.04)
    assert {path for flat in found for path in flat} - best.keys()
    assert all(space.active(flat) == flat for flat in found)


def test_what_was_tried_is_drawn_again(space: SearchSpace) -> None:
    generator = random.Random(4)
    best = draw(space, generator)
    found = [around_best(space, best, generator, [best]) for _ in range(200)]
    assert space.values(best) not in [space.values(flat) for flat in found]


def test_half_of_the_proposals_of_tpe_are_around_the_best_after_six_results(
    tmp_path: Path,
) -> None:
    space = lr_space(tmp_path, searcher={"name": "tpe"}, budget={"trials": 40})
    sources = [t.source for t in tuning.simulate(space, Nearer(), slots=1, seed=3).trials]
    assert "incumbent" not in sources[:6]
    assert 10 <= sources.count("incumbent") <= 24  # of 34
    assert "prior_sample" not in sources
    off = lr_space(tmp_path, searcher={"incumbent_share": 0.0}, budget={"trials": 20})
    assert "incumbent" not in [t.source for t in tuning.simulate(off, Nearer(), slots=1).trials]
    assert Tpe().share_around_best(space, 6) == 0.5
    assert Tpe().share_around_best(space, 5) == 0.0
    front = replace(space, objective=replace(space.objective, pareto=("val_bpp", "val_psnr")))
    assert Tpe().share_around_best(front, 6) == 0.0


def test_a_trial_that_trains_on_counts_as_it_was_at_its_last_rung(tmp_path: Path) -> None:
    """All eight that run are pilots: without this there are six results only once six ended."""

    def sources(**searcher: Any) -> list[str]:
        scheduler, budget = {"name": "promote"}, {"trials": 13, "concurrent": 8}
        space = lr_space(tmp_path, scheduler=scheduler, searcher=searcher, budget=budget)
        return [t.source for t in tuning.simulate(space, Nearer(), slots=8, seed=3).trials[8:]]

    assert "incumbent" in sources()
    assert "incumbent" not in sources(at_rungs=False)
    record = TrialRecord("x", 1, {}, state="running", reports=[report(e, 1 / e) for e in (1, 2)])
    there = at_last_rung(record, (1, 3), METRIC)
    assert (there.paused, there.epochs) == (True, 1)
    assert record.epochs == 2
    for other in (replace(record, reports=[]), replace(record, state="finished")):
        assert at_last_rung(other, (1, 3), METRIC) is other
    front = replace(lr_space(tmp_path).objective, pareto=("val_bpp", "val_psnr"))
    assert not Tpe().learns_at_rungs(replace(lr_space(tmp_path), objective=front))


class Nearer:
    """The nearer to 1e-3, the better."""

    def report(self, params: Mapping[str, Any], seed: int, epoch: int) -> dict[str, float]:
        return {"val_rd_cost": 1 + abs(math.log10(params["optimizer.lr"] / 1e-3)), "val_bpp": 1.0}

    def seconds(self, params: Mapping[str, Any], epoch: int) -> float:
        return 1.0


class Alike:
    """No config is better than another."""

    def report(self, params: Mapping[str, Any], seed: int, epoch: int) -> dict[str, float]:
        return {"val_rd_cost": 1.0, "val_bpp": 1.0}

    def seconds(self, params: Mapping[str, Any], epoch: int) -> float:
        return 1.0


def test_no_two_trials_train_the_same(space_file: Callable[..., Path]) -> None:
    """Two choices, and a coefficient that is exactly 0 for most draws of its coin."""
    parameters = {
        "balancer.name": {"type": "categorical", "choices": ["sum", "famo"], "prior": "sum"},
        "regularizers.inter_scale.delta": {
            **{"type": "float", "low": 0.1, "high": 0.2, "zero": 0.9, "prior": 0.0}
        },
    }
    space = load_space(space_file(put("parameters", parameters)), "laptop", ["budget.trials=16"])
    trials = tuning.simulate(space, Alike(), slots=1, seed=3).trials
    configs = [space.values(trial.params) for trial in trials]
    assert len(configs) == 16
    assert all(config not in configs[:number] for number, config in enumerate(configs))
