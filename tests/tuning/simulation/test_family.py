"""Made-up curves: points of a rate-distortion curve, and `family:NAME` over a space."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest

import tuning
from benchmarks.family_fit import fit
from tuning import load_space
from tuning.ledger.reference_curve import DELTA_RATE
from tuning.search.random_draws import Random
from tuning.search.scheduler import Fifo
from tuning.simulation.family import PRESETS, Family
from tuning.simulation.rd_point import rd_metrics
from tuning.simulation.simulate import simulate
from tuning.spaces.draws import draw
from tuning.spaces.space import SearchSpace

SHORT = ("fidelity.min=1", "fidelity.max=9")


def phase3(*overrides: str) -> SearchSpace:
    return load_space("phase3", overrides=[*SHORT, *overrides])


def test_a_rate_distortion_point_moves_along_one_curve() -> None:
    """At its own optimum lmbda D is R; elsewhere on the curve the cost is higher, worse or not."""
    best = rd_metrics(0.013, 0.013, 0.0, 0.0)
    assert best["val_rd_cost"] == pytest.approx(2 * best["val_bpp"])
    assert best["val_psnr"] == pytest.approx(-10 * math.log10(best["val_mse"]))
    for place in (-0.3, 0.3):
        moved = rd_metrics(0.013, 0.013, 0.0, place)
        assert moved["val_rd_cost"] > best["val_rd_cost"]
        octaves = (moved["val_psnr"] - best["val_psnr"]) / (10 * math.log10(2))
        assert math.log2(moved["val_bpp"] / best["val_bpp"]) == pytest.approx(octaves)
    for lmbda in (0.0065, 0.026):  # each run sits in the minimum of its own cost
        own = rd_metrics(lmbda, 0.013, 0.0, 0.0)["val_rd_cost"]
        assert own < rd_metrics(lmbda, 0.013, 0.0, 0.1)["val_rd_cost"]
        assert own < rd_metrics(lmbda, 0.013, 0.0, -0.1)["val_rd_cost"]


@pytest.mark.parametrize("name", PRESETS)
def test_the_optimum_of_a_family_is_the_best(name: str) -> None:
    space, generator = phase3(), random.Random(1)
    family = Family(space, PRESETS[name], landscape=4)
    assert family.excess(family.optimum) == 0
    drawn = [family.excess(draw(space, generator)) for _ in range(300)]
    assert min(drawn) > 0
    assert np.mean(drawn) == pytest.approx(PRESETS[name].spread, rel=0.3)
    prior = family.excess(space.prior())
    assert (prior > np.mean(drawn)) == PRESETS[name].opposite


def test_each_parameter_of_a_family_does_what_it_says() -> None:
    """With all noises off a curve is its formula; each noise alone moves what it should."""
    space = phase3()
    still = replace(
        PRESETS["good"], crossing=0.0, noise=0.0, seed_noise=0.0, moves=0.0, diverging=0.0
    )
    lmbda, flat = space.lmbda, draw(space, random.Random(3))

    def excess(family: Family, seed: int, epoch: int, metric: str = "val_bpp") -> float:
        best = rd_metrics(lmbda, lmbda, 0.0, 0.0)["val_bpp"]
        return 100 * (family.report(flat, seed, epoch)[metric] / best - 1)

    family = Family(space, still)
    final = family.excess(flat)
    assert excess(family, 0, 9) == pytest.approx(final)
    assert excess(family, 0, 1) == pytest.approx(final + still.rise * (9**still.power - 1))
    noisy = Family(space, replace(still, noise=1.0, averaged=0.3))
    raw = [excess(noisy, 0, epoch) - excess(family, 0, epoch) for epoch in range(1, 10)]
    averaged = [
        excess(noisy, 0, epoch, "val_ema_bpp") - excess(family, 0, epoch) for epoch in range(1, 10)
    ]
    assert averaged == pytest.approx([0.3 * value for value in raw])
    assert np.std(raw) > 0
    seeds = [excess(Family(space, replace(still, seed_noise=0.5)), seed, 9) for seed in range(40)]
    assert np.std(seeds) == pytest.approx(0.5, rel=0.35)
    high = flat | {"optimizer.lr": 4.9e-4}
    assert math.isnan(Family(space, PRESETS["good"]).report(high, 0, 9)["val_psnr"])
    moved = Family(space, replace(still, moves=0.2)).report(flat, 0, 9)
    assert moved["val_psnr"] != family.report(flat, 0, 9)["val_psnr"]
    assert Family(space, replace(still, slower=0.5)).seconds(flat, 1) != family.seconds(flat, 1)


def test_a_fit_finds_the_parameters_of_a_family() -> None:
    """Of a search that stopped nobody; the noise of the reference runs is in the trials'."""
    space = phase3("budget.trials=24", "confirm.top=0")
    space = replace(space, scheduler=Fifo(), searcher=Random())
    shape = replace(PRESETS["tiny"], crossing=0.3, rise=2.0, noise=0.3)
    trials = simulate(space, Family(space, shape), slots=4).trials
    found = fit([t for t in trials if len(t.curve(DELTA_RATE)) == 9], 9)
    assert found["averaged"] == pytest.approx(shape.averaged, rel=0.2)
    assert found["noise"] == pytest.approx(shape.noise, rel=0.6)
    assert found["rise"] == pytest.approx(shape.rise, rel=0.4)
    assert found["moves"] == pytest.approx(shape.moves, rel=0.5)


def test_a_search_finds_what_is_good_in_a_family() -> None:
    """Its best trial is better than most configs drawn at random."""
    space = phase3("budget.trials=32", "confirm.top=0")
    family = Family(space, PRESETS["good"], landscape=2)
    best = tuning.simulate(space, family, slots=4, seed=1).best
    assert best is not None
    drawn = [family.excess(draw(space, random.Random(seed))) for seed in range(50)]
    assert family.excess(best.params) < np.quantile(drawn, 0.1)


# --- an experiment as a source --------------------------------------------------------------------
