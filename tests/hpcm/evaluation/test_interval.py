"""The bootstrap behind an interval: closed forms, a plain twin, pairing, and refusals."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from hpcm.evaluation.comparison import compare, mean_over_sets
from hpcm.evaluation.interval import _weights
from hpcm.evaluation.results import Results
from hpcm.evaluation.scores import Scores, scores_of
from tests.hpcm.evaluation.scored_curves import scored

BASE = scored("base", lambda point, seed, image: 1.0)
RNG = np.random.default_rng(5)
OF_IMAGE = RNG.normal(0, 0.05, 40)
OF_SEED = RNG.normal(0, 0.05, 8)


@pytest.fixture(autouse=True)
def _few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variance from 300 draws has a relative error of 8 %."""
    monkeypatch.setattr("hpcm.evaluation.interval.DRAWS", 300)


def variance(draws: np.ndarray) -> float:
    return float(np.var(draws / 100))


def test_a_mean_curve_is_that_of_the_images_and_seeds_that_were_drawn() -> None:
    """Against loops over what was drawn, an image drawn twice counting twice."""
    bpp, quality = RNG.uniform(0.1, 1, (4, 3, 5)), RNG.uniform(0.5, 0.9, (4, 3, 5))
    seeds, images = [0, 0, 2], [4, 1, 1, 1, 0]
    by_seed = np.bincount(seeds, minlength=3)[None] / 3
    by_image = np.bincount(images, minlength=5)[None] / 5
    scores = Scores(bpp, quality, linear=True, seeds=(1, 2, 3), images=tuple("abcde"))
    rates, decibels = scores.curve(by_seed, by_image)
    for point in range(4):
        drawn = [(point, seed, image) for seed in seeds for image in images]
        assert rates[0, point] == pytest.approx(np.mean([bpp[place] for place in drawn]))
        similarity = np.mean([quality[place] for place in drawn])
        assert decibels[0, point] == pytest.approx(-10 * np.log10(1 - similarity))


def test_a_saving_that_all_images_share_has_no_spread() -> None:
    found = compare(BASE, scored("test", lambda point, seed, image: 0.9))
    assert found.bd_rate == pytest.approx(-10)
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((-10, -10))
    assert str(found.interval) == "[-10.00, -10.00]"
    assert found.interval.basis.startswith("6 images; one seed, so the spread between trainings is")


def test_the_spread_of_images_is_that_of_a_mean() -> None:
    """BD-rate is then the mean of the images' factors, whose variance has a closed form."""
    factor = 0.95 + OF_IMAGE
    test = scored("test", lambda point, seed, image: factor[image], images=40)
    anchor = scored("base", lambda point, seed, image: 1.0, images=40)
    interval = compare(anchor, test).interval
    assert interval is not None
    sd = np.sqrt(np.var(factor, ddof=1) / 40)
    assert variance(interval.draws) == pytest.approx(sd**2, rel=0.25)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * 100 * sd, rel=0.2)
    assert interval.low < 100 * (factor.mean() - 1) < interval.high
    again = compare(anchor, test).interval
    assert again is not None
    np.testing.assert_array_equal(again.draws, interval.draws)


def test_what_makes_an_image_hard_for_both_is_not_in_the_interval() -> None:
    hard = RNG.uniform(0.3, 3, 40)
    anchor = scored("base", lambda point, seed, image: hard[image], images=40)
    test = scored("test", lambda point, seed, image: 0.9 * hard[image], images=40)
    interval = compare(anchor, test).interval
    assert interval is not None
    assert variance(interval.draws) < 1e-12


def test_more_seeds_do_not_shrink_the_images_share_of_the_spread() -> None:
    """Seeds and images are crossed: var(seeds) / S + var(images) / n, not var(images) / (n S)."""
    seeds = range(8)
    anchor = scored("base", lambda point, seed, image: 1.0, seeds=seeds, images=40)
    test = scored(
        "test", lambda p, seed, image: 1 + OF_SEED[seed] + OF_IMAGE[image], seeds=seeds, images=40
    )
    interval = compare(anchor, test).interval
    assert interval is not None
    expected = np.var(OF_SEED, ddof=1) / 8 + np.var(OF_IMAGE, ddof=1) / 40
    assert variance(interval.draws) == pytest.approx(expected, rel=0.25)
    assert interval.basis == "40 images and 8 seeds, paired by seed"


def test_an_interval_holds_the_truth_nearly_as_often_as_it_says() -> None:
    """Effects of 3 seeds (sd 0.2), 24 images (sd 1), the rest (sd 0.3), mean 0; docs/log.md."""
    rng, held = np.random.default_rng(7), 0
    for _ in range(400):
        effects = rng.normal(0, 0.2, (3, 1)) + rng.normal(0, 1, 24) + rng.normal(0, 0.3, (3, 24))
        by_seed, by_image = _weights(rng, 3), _weights(rng, 24)
        low, high = np.quantile(np.sum((by_seed @ effects) * by_image, axis=1), [0.025, 0.975])
        held += low <= 0 <= high
    assert 0.89 < held / 400 < 0.97  # images drawn anew in each seed: 0.84


def test_two_seeds_are_not_taken_for_the_whole_spread() -> None:
    """The unbiased estimate; drawing two seeds of two would give half of it."""
    anchor = scored("base", lambda point, seed, image: 1.0, seeds=(0, 1))
    test = scored("test", lambda point, seed, image: 1 + OF_SEED[seed], seeds=(0, 1))
    interval = compare(anchor, test).interval
    assert interval is not None
    expected = np.var(OF_SEED[:2], ddof=1) / 2
    assert variance(interval.draws) == pytest.approx(expected, rel=0.05)


def test_equal_seeds_are_drawn_together_and_others_are_not() -> None:
    """A seed that is bad for both counts in neither if they are paired."""
    same = [scored(n, lambda p, s, i: 1 + OF_SEED[s], seeds=range(8)) for n in ("base", "test")]
    paired = compare(*same).interval
    other = scored("test", lambda p, s, i: 1 + OF_SEED[s - 10], seeds=range(10, 18))
    apart = compare(same[0], other).interval
    assert paired is not None
    assert apart is not None
    assert variance(paired.draws) < 1e-12
    assert variance(apart.draws) == pytest.approx(2 * np.var(OF_SEED, ddof=1) / 8, rel=0.25)
    assert apart.basis == "6 images and 8 seeds, not paired by seed"


def test_the_mean_over_sets_draws_the_same_seeds_for_all() -> None:
    rows = []
    for dataset in ("kodak", "tecnick"):
        curves: list[Results] = []
        for name, effect in (("base", np.zeros(8)), ("test", OF_SEED)):
            factor: Any = lambda p, s, i, effect=effect: 1 + effect[s]  # noqa: E731
            curves.append(scored(name, factor, seeds=range(8), dataset=dataset))
        rows.append(compare(*curves))
    (mean,) = mean_over_sets(rows)
    assert mean.bd_rate == pytest.approx(np.mean([row.bd_rate for row in rows]))
    assert (mean.test, mean.dataset, mean.low) == ("test", "kodak, tecnick", None)
    assert mean.interval is not None
    assert mean.interval.images == 12
    # independent seeds would halve it
    assert variance(mean.interval.draws) == pytest.approx(np.var(OF_SEED, ddof=1) / 8, rel=0.25)
    assert mean_over_sets(rows[:1]) == []
    (partly,) = mean_over_sets([rows[0], dataclasses.replace(rows[1], interval=None)])
    assert (partly.interval, partly.no_interval) == (None, "a set has none")


def test_what_has_no_values_per_image_has_no_interval_and_says_so() -> None:
    bare = dataclasses.replace(BASE, name="bare", images=[])
    torn = dataclasses.replace(BASE, name="torn", images=BASE.images[1:])
    few = scored("few", lambda p, s, i: 1.0, images=4)
    fewer = scored("fewer", lambda p, s, i: 1.0, images=5)
    for pair, reason in (
        ((bare, BASE), "bare has no values per image"),
        ((BASE, torn), "torn lacks the values of some images, seeds or points"),
        ((BASE, fewer), "base and fewer were not scored on the same images"),
        ((few, few), "4 of the 5 images or more that an interval needs"),
    ):
        found = compare(*pair)
        assert (found.interval, found.no_interval) == (None, reason)


def test_of_five_images_there_is_one() -> None:
    assert compare(*[scored("five", lambda p, s, i: 1.0, images=5)] * 2).interval is not None


def test_an_interval_that_hangs_on_single_images_is_none() -> None:
    """The curve of the mean rises, but not that of the draws without the one good image."""

    def factor(point: int, seed: int, image: int) -> float:
        return 9.0 if (point, image) == (3, 0) else (0.45 if point == 3 else 1.0)

    found = compare(BASE, scored("odd", factor))
    assert found.interval is None
    assert found.no_interval.startswith("the curves of more than 5 % of the draws do not rise")


def test_the_seed_of_a_curve_with_one_training_is_that_of_its_points() -> None:
    assert scores_of(BASE, "psnr").seeds == (1,)
    assert scores_of(dataclasses.replace(BASE, points=[]), "psnr").seeds == ()
