"""Draws around the prior: where they fall, how their share falls, and what decides them."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tuning.small_spaces import put
from tuning import load_space
from tuning.search.prior_sampling import around_prior, near, prior_share
from tuning.search.random_draws import Random
from tuning.search.tpe_section import Tpe
from tuning.spaces.coordinates import Coordinate
from tuning.spaces.parameters import Float, Simplex
from tuning.spaces.space import SearchSpace

DRAWS = 4_000


def draws(coordinate: Coordinate, width: float = 0.25) -> list[Any]:
    generator = random.Random(5)
    return [near(coordinate, width, generator) for _ in range(DRAWS)]


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
    shares = [value.share(draw) for draw in draws(value)]
    if prior == 0:  # the prior has no value: the distribution itself
        assert statistics.pstdev(shares) == pytest.approx(12**-0.5, abs=0.01)
    else:
        assert statistics.pstdev(shares) < 0.18


def test_a_simplex_stays_one_and_is_around_its_prior() -> None:
    simplex = Simplex(size=3, prior=(0.2, 0.5, 0.3), low=0.05)
    generator = random.Random(2)
    found = [
        simplex.read("w", lambda coordinate: near(coordinate, 0.1, generator)) for _ in range(2_000)
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
