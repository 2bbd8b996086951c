"""Rate, distortion, PSNR and MS-SSIM of images small enough to do by hand."""

from __future__ import annotations

import sys
from itertools import pairwise

import pytest
import torch

from hpcm.losses import LossConfig, rate_distortion
from hpcm.losses.metrics import ms_ssim, ms_ssim_to_db, psnr, psnr_8bit
from hpcm.losses.rate_distortion import STEPS_OF_SCALE
from hpcm.model.coding_order import SCALE_OF_STEP
from hpcm.schema import ConfigError
from tests.hpcm.losses.outputs import random_output


def test_by_hand() -> None:
    """Two images of 4 x 4, all errors 0.1: mse 0.01, D 650.25. 16 bits in z, 1..11 in the steps.

    32 pixels: z 1 bpp (2 x 16 / 32), s1 (1+2) / 16, s2 (3+4+5) / 16, s3 (6+..+11) / 16.
    """
    x = torch.full((2, 3, 4, 4), 0.5, dtype=torch.float64)
    bits = {
        "z": torch.full((2,), 16.0, dtype=torch.float64),
        "steps": torch.arange(1, 12, dtype=torch.float64).expand(2, 11),
    }
    terms = rate_distortion({"x_hat": x + 0.1, "bits": bits}, x)
    assert terms.mse.item() == pytest.approx(0.01, abs=1e-12)
    assert terms.distortion.item() == pytest.approx(650.25, abs=1e-9)
    assert terms.bpp_z.item() == 1.0
    assert terms.bpp_scale.tolist() == [3 / 16, 12 / 16, 51 / 16]
    assert terms.bpp.item() == 1 + 66 / 16
    assert terms.rd_cost(0.01).item() == pytest.approx(6.5025 + 5.125, abs=1e-9)


def test_the_reconstruction_is_not_clamped() -> None:
    x = torch.ones(1, 3, 4, 4)
    bits = {"z": torch.zeros(1), "steps": torch.zeros(1, 11)}
    assert rate_distortion({"x_hat": x + 1, "bits": bits}, x).mse.item() == 1.0


def test_low_precision_outputs_are_widened() -> None:
    out, x = random_output(dtype=torch.float32)
    out["x_hat"] = out["x_hat"].bfloat16()
    terms = rate_distortion(out, x)
    values = (terms.distortion, terms.bpp, terms.bpp_z, terms.bpp_scale, terms.mse)
    assert {value.dtype for value in values} == {torch.float32}


def test_another_shape_is_refused() -> None:
    out, x = random_output()
    with pytest.raises(ValueError, match=r"x_hat is \(2, 3, 64, 64\) but x is \(2, 3, 32, 64\)"):
        rate_distortion(out, x[:, :, :32])


def test_steps_of_scale_are_the_model_s() -> None:
    counts = tuple(SCALE_OF_STEP.count(scale) for scale in (1, 2, 3))
    assert counts == STEPS_OF_SCALE


def test_psnr_by_hand() -> None:
    """An error of 0.1 everywhere is 20 dB; of 26/255 after rounding, 20 log10(255/26) dB.

    The second image overshoots white by 0.2, which clamping removes.
    """
    x = torch.stack([torch.full((3, 8, 8), 0.5), torch.ones(3, 8, 8)]).double()
    x_hat = torch.stack([x[0] + 0.1, x[1] + 0.2])
    assert psnr(x_hat, x).tolist() == pytest.approx([20.0, float("inf")])
    rounded = 20 * torch.log10(torch.tensor(255 / (153 - 128), dtype=torch.float64)).item()
    assert psnr_8bit(x_hat, x).tolist() == pytest.approx([rounded, float("inf")])


def test_a_dark_8bit_image_with_an_error_of_one() -> None:
    """48.13 dB, however dark the image is."""
    x = torch.full((1, 3, 8, 8), 1 / 255)
    assert psnr_8bit(torch.zeros_like(x), x).item() == pytest.approx(48.1308, abs=1e-3)


def test_ms_ssim_orders_images_and_has_a_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 3, 192, 176, generator=generator)
    noise = torch.rand(x.shape, generator=generator) - 0.5
    values = [ms_ssim(x + amount * noise, x) for amount in (0.0, 0.1, 0.3)]
    assert values[0].tolist() == pytest.approx([1, 1])
    assert all((a > b).all() for a, b in pairwise(values))
    x_hat = (x + 0.1 * noise).requires_grad_()
    bits = {"z": torch.zeros(2), "steps": torch.zeros(2, 11)}
    terms = rate_distortion({"x_hat": x_hat, "bits": bits}, x, "ms_ssim")
    assert terms.distortion.item() == pytest.approx(1 - values[1].mean().item(), abs=1e-6)
    terms.distortion.backward()
    assert x_hat.grad is not None
    assert x_hat.grad.abs().sum() > 0


def test_ms_ssim_ignores_autocast() -> None:
    x = torch.rand(1, 3, 176, 176, generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = ms_ssim(x.square(), x)
    assert torch.equal(inside, ms_ssim(x.square(), x))


def test_ms_ssim_db_by_hand() -> None:
    assert ms_ssim_to_db(torch.tensor(0.99, dtype=torch.float64)).item() == pytest.approx(20)


def test_ms_ssim_of_a_small_image_is_refused() -> None:
    x = torch.zeros(1, 3, 160, 256)
    with pytest.raises(ConfigError, match="side of 160 pixels; must be 161 or more"):
        ms_ssim(x, x)


def test_ms_ssim_says_which_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytorch_msssim", None)
    x = torch.zeros(1, 3, 176, 176)
    with pytest.raises(ConfigError, match="pip install"):
        ms_ssim(x, x)


@pytest.mark.parametrize("lmbda", [0.0, -1.0])
def test_lmbda_is_positive(lmbda: float) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        LossConfig(lmbda=lmbda)
