"""The codec of somebody else: it trains, resumes, is scored and searched; or says what it lacks."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import hpcm
from examples import tune_compressai
from examples.tune_compressai import SPACE, Hyperprior, train
from tuning import load_space, simulate
from tuning.spaces.space import SearchSpace

SMALL = [
    *("base.data.crops_per_epoch=8", "base.data.batch_size=4", "base.precision.threads=1"),
    *("budget.trials=2", "fidelity.max=1"),
]


@pytest.fixture
def space(monkeypatch: pytest.MonkeyPatch) -> SearchSpace:
    """Two trials of two steps of a model of a few thousand numbers."""
    monkeypatch.setitem(tune_compressai.WIDTHS, "hpcm_tiny", (8, 12))
    return load_space(SPACE, "laptop", SMALL)


class Trained:
    """A simulation's curves, trained when they are asked for."""

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self.runs: dict[str, Iterator[hpcm.EpochReport]] = {}
        self.trained: list[hpcm.TrainConfig] = []

    def report(self, params: Mapping[str, Any], seed: int, epoch: int) -> dict[str, float]:
        key = str(sorted(params.items()))
        if key not in self.runs:
            reference = "loss.lmbda" in params
            config = (
                self.space.reference_config(params["loss.lmbda"])
                if reference
                else self.space.config(params)
            )
            self.trained.append(config)
            self.runs[key] = train(config)
        return next(self.runs[key]).metrics

    def seconds(self, params: Mapping[str, Any], epoch: int) -> float:
        return 1.0


def test_it_is_searched_by_the_rate_at_equal_quality(space: SearchSpace) -> None:
    source = Trained(space)
    result = simulate(space, source, slots=1)
    assert result.complete
    assert [run.state for run in (*result.trials, *result.references)] == ["finished"] * 5
    assert {config.loss.lmbda for config in source.trained} == set(space.reference_lmbdas())
    assert {config.balancer.name for config in source.trained} == {"sum", "famo"}
    for run in (*result.trials, *result.references):
        assert run.last["val_bpp"] > 0
        assert run.last["val_bpp_s3"] > 0  # all of y, whose steps end there


def test_a_run_that_was_cut_short_goes_on_bit_for_bit(space: SearchSpace, tmp_path: Path) -> None:
    config = replace(
        space.config({"balancer.name": "famo", "balancer.gamma": 1e-3, "balancer.w_lr": 0.025}),
        epochs=2,
    )
    *_, whole = train(config)
    first = next(train(config))
    first.save(tmp_path)
    *_, resumed = train(config, resume=tmp_path)
    assert resumed.epoch == whole.epoch == 2
    for name in ("val_bpp", "val_psnr", "train/loss"):
        assert resumed.metrics[name] == whole.metrics[name]


def test_evaluate_scores_it(space: SearchSpace) -> None:
    found = hpcm.evaluate(Hyperprior(8, 12), "sample_val", source={"lmbda": 0.013})
    (bpp,) = found.results["bpp"]
    assert bpp == pytest.approx(found.results["bpp-y"][0] + found.results["bpp-z"][0])
    assert len(found.images) == 2


def test_a_model_as_it_comes_says_what_it_lacks(space: SearchSpace) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from compressai.models import MeanScaleHyperprior

    model = MeanScaleHyperprior(8, 12)
    with pytest.raises(hpcm.ConfigError, match="cannot be evaluated here: it has no stride"):
        hpcm.evaluate(model, "sample_val")
    with pytest.raises(hpcm.ConfigError, match="it has no stride, latent_channels, noise_shapes"):
        hpcm.train(space.config(space.prior()), model=model)
    odd = torch.nn.Module()
    odd.trunk = torch.nn.Conv2d(3, 3, 1)
    for name in ("stride", "latent_channels", "noise_shapes"):
        setattr(odd, name, 64)
    with pytest.raises(hpcm.ConfigError, match="parameter 'trunk.weight' is in no part"):
        hpcm.train(space.config(space.prior()), model=odd)


def test_what_the_file_asks_on_a_cluster() -> None:
    space = load_space(SPACE)
    assert space.objective.metric == "delta_rate"
    assert space.reference_config(0.013).balancer.name == "sum"
    assert space.config(space.prior()).data.holdout == 128
