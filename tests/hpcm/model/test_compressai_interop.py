"""CompressAI's own evaluation code takes our models."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from hpcm.model import build_model
from tests.reference.fill_weights import fill_model


@pytest.fixture(scope="module")
def eval_model() -> Any:
    """``compressai.utils.eval_model``; torch deprecates what its import does."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", category=FutureWarning)
        warnings.filterwarnings("ignore", "`torch.jit", category=DeprecationWarning)
        from compressai.utils.eval_model import __main__ as module
    return module


def test_real_and_estimated_rate(eval_model: Any, image_batch: Callable[..., Tensor]) -> None:
    model = fill_model(build_model("hpcm_tiny"), seed=4).eval()
    assert model.update(force=True)
    x = image_batch(height=256, width=512)[0]
    real = eval_model.inference(model, x)
    estimated = eval_model.inference_entropy_estimation(model, x)
    assert real["bpp"] == pytest.approx(estimated["bpp"], rel=0.05)
    with torch.no_grad():
        bits = model(x[None])["bits"]
    ours = (bits["z"].sum() + bits["steps"].sum()).item() / 256 / 512
    assert estimated["bpp"] == pytest.approx(ours, rel=1e-5)
    assert estimated["psnr-rgb"] == pytest.approx(real["psnr-rgb"], abs=1e-6)
