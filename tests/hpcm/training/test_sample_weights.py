"""`start_from: sample`: the tiny codec that comes with the package is a trained one."""

from __future__ import annotations

from pathlib import Path

from hpcm import TrainConfig
from hpcm.evaluation.images import validate
from hpcm.losses import LossConfig
from hpcm.model.checkpoint import read_weights
from hpcm.training.inputs import SAMPLE_WEIGHTS
from hpcm.training.run import Run

RECIPE = Path(SAMPLE_WEIGHTS).with_name("weights.yaml")


def test_the_weights_are_those_of_the_recipe_beside_them() -> None:
    weights = read_weights(SAMPLE_WEIGHTS)
    assert weights.variant == "hpcm_tiny"
    assert weights.about["config_digest"] == TrainConfig.from_yaml(RECIPE).digest


def test_a_run_that_starts_from_them_starts_as_a_codec() -> None:
    plain = {"model": {"name": "hpcm_tiny"}, "start_from": "sample"}
    run = Run.build(TrainConfig.from_plain(plain, "test"), None, "cpu")
    found = validate(run.model, "sample_val", LossConfig())
    assert found["val_psnr"] > 24
    assert found["val_bpp"] < 1
