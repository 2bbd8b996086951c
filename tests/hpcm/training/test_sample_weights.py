"""`start_from: sample`: the tiny codecs that come with the package are trained ones, on a curve."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import pytest

from hpcm import TrainConfig
from hpcm.evaluation.images import validate
from hpcm.losses import LossConfig
from hpcm.model.checkpoint import load_model, read_weights
from hpcm.training.inputs import SAMPLE, sample_weights, start_weights
from hpcm.training.run import Run

LMBDAS = sorted(sample_weights())


@cache
def scores(lmbda: float) -> dict[str, float]:
    """On the photographs that no weights were trained on."""
    return validate(load_model(sample_weights()[lmbda]), "sample_val", LossConfig(lmbda=lmbda))


def test_there_are_four_each_of_twice_the_lmbda_before() -> None:
    assert len(LMBDAS) == 4
    assert [high / low for low, high in pairwise(LMBDAS)] == pytest.approx([2, 2, 2])


@pytest.mark.parametrize("lmbda", LMBDAS)
def test_the_weights_are_those_of_the_recipe_beside_them(lmbda: float) -> None:
    path = sample_weights()[lmbda]
    recipe = TrainConfig.from_yaml(path.with_suffix(".yaml"))
    weights = read_weights(path)
    assert weights.variant == "hpcm_tiny"
    assert weights.about["config_digest"] == recipe.digest
    assert recipe.loss.lmbda == weights.about["lmbda"] == lmbda
    assert recipe.data.train == "sample"


@pytest.mark.parametrize("lmbda", LMBDAS)
def test_they_are_in_the_regime_of_the_codec(lmbda: float) -> None:
    """lmbda D / R is 1.1 to 0.6 for the published HPCM-Base: neither may drown the other."""
    found = scores(lmbda)
    ratio = (found["val_rd_cost"] - found["val_bpp"]) / found["val_bpp"]
    assert 0.5 < ratio < 2


def test_they_lie_on_a_curve_that_rises() -> None:
    """And far enough apart for a curve at equal quality: 0.2 dB over its whole."""
    points = [(scores(lmbda)["val_bpp"], scores(lmbda)["val_psnr"]) for lmbda in LMBDAS]
    for (rate, quality), (more, better) in pairwise(points):
        assert more > rate
        assert better > quality
    assert points[-1][1] - points[0][1] > 0.2


@pytest.mark.parametrize("index", range(4))
def test_each_is_the_best_at_its_own_lmbda(index: int) -> None:
    """So no part of the reference curve is better trained than another."""
    own = LMBDAS[index]
    costs = {}
    for lmbda in LMBDAS:
        found = scores(lmbda)
        distortion = (found["val_rd_cost"] - found["val_bpp"]) / lmbda
        costs[lmbda] = own * distortion + found["val_bpp"]
    assert costs[own] == min(costs.values())


@pytest.mark.parametrize(
    ("factor", "nearest"), [(1.0, 1.0), (1.4, 1.0), (1.42, 2.0), (0.72, 1.0), (0.01, 0.5)]
)
def test_a_run_starts_from_those_of_the_nearest_lmbda(factor: float, nearest: float) -> None:
    middle = LMBDAS[1]
    chosen = start_weights("sample", factor * middle)
    assert chosen == sample_weights()[nearest * middle]
    assert chosen.parent == SAMPLE


def test_a_run_that_starts_from_them_starts_as_that_codec() -> None:
    lmbda = LMBDAS[2]
    plain = {"model": {"name": "hpcm_tiny"}, "start_from": "sample", "loss": {"lmbda": lmbda}}
    run = Run.build(TrainConfig.from_plain(plain, "test"), None, "cpu")
    assert validate(run.model, "sample_val", LossConfig(lmbda=lmbda)) == scores(lmbda)
