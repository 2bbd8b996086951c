"""Validation's numbers against plain arithmetic on one image at a time, with the toy codec."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from hpcm import ConfigError
from hpcm.evaluation.images import Validator, validate
from hpcm.evaluation.padding import Padding
from hpcm.losses import LossConfig
from tests.toy_codec import ToyCodec

Folder = Callable[..., Path]
LOSS = LossConfig(lmbda=0.02)


@pytest.fixture
def toy() -> ToyCodec:
    torch.manual_seed(3)
    return ToyCodec()


@pytest.mark.parametrize(("height", "width"), [(64, 64), (65, 63), (1, 128), (129, 200)])
def test_padding_is_symmetric_with_the_odd_pixel_right_and_below(height: int, width: int) -> None:
    x = torch.rand(1, 3, height, width) + 1
    padding = Padding.to_multiple(height, width, 64)
    padded = padding.pad(x)
    assert padded.shape[-2] % 64 == padded.shape[-1] % 64 == 0
    assert padded.numel() - x.numel() == (padded == 0).sum()
    assert padding.right - padding.left in (0, 1)
    assert padding.bottom - padding.top in (0, 1)
    assert max(padding.right, padding.bottom) <= 32
    torch.testing.assert_close(padding.crop(padded), x, rtol=0, atol=0)


def by_hand(model: ToyCodec, path: Path) -> dict[str, float]:
    """One image, in numpy where it can be."""
    stored = np.asarray(Image.open(path).convert("RGB")) / 255  # (H, W, 3)
    height, width = stored.shape[:2]
    x = torch.from_numpy(stored).permute(2, 0, 1)[None].float()
    down, right = -height % 64, -width % 64
    top, left = down // 2, right // 2
    with torch.no_grad():
        out = model.eval()(F.pad(x, (left, right - left, top, down - top)))
    x_hat = out["x_hat"][0, :, top : top + height, left : left + width].permute(1, 2, 0).numpy()
    mse = float(np.mean((np.clip(x_hat.astype(np.float64), 0, 1) - stored) ** 2))
    y, z = (
        -out["likelihoods"][name].double().log2().sum().item() / (height * width) for name in "yz"
    )
    return {
        "val_mse": mse,
        "val_psnr": -10 * math.log10(mse),
        "val_bpp": y + z,
        "val_bpp_z": z,
        "val_rd_cost": 0.02 * 255**2 * mse + y + z,
    }


def test_every_value_is_the_mean_of_the_images_own(image_folder: Folder, toy: ToyCodec) -> None:
    folder = image_folder("mixed", count=1, height=64, width=128)
    Image.fromarray(np.full((50, 70, 3), 250, np.uint8)).save(folder / "flat.png")
    found = validate(toy, "mixed", LOSS)
    expected = [by_hand(toy, path) for path in sorted(folder.iterdir())]
    for key in expected[0]:
        mean = sum(image[key] for image in expected) / 2
        assert found[key] == pytest.approx(mean, rel=2e-5), key
        if key in ("val_rd_cost", "val_bpp", "val_psnr"):  # of two, half of what they differ by
            apart = abs(expected[0][key] - expected[1][key]) / 2
            assert found[f"{key}_se"] == pytest.approx(apart, rel=1e-4), key
    assert "val_mse_se" not in found
    parts = [found[f"val_bpp_{part}"] for part in ("z", "s1", "s2", "s3")]
    assert min(parts) > 0
    assert sum(parts) == pytest.approx(found["val_bpp"], rel=1e-5)


def test_the_model_is_left_as_it_was(image_folder: Folder, toy: ToyCodec) -> None:
    image_folder("plain", count=1, height=64, width=64)
    validator = Validator("plain", LOSS, stride=64)
    toy.train()
    toy.g_a.eval()
    generator = torch.get_rng_state()
    first = validator(toy)
    assert toy.training
    assert not toy.g_a.training
    assert torch.equal(torch.get_rng_state(), generator)
    with torch.autocast("cpu", torch.bfloat16):
        assert validator(toy) == first
    assert all(parameter.grad is None for parameter in toy.parameters())


def test_what_leaves_the_range_is_clamped_as_a_decoder_does(
    image_folder: Folder, toy: ToyCodec
) -> None:
    folder = image_folder("white", count=0)
    Image.fromarray(np.full((64, 64, 3), 255, np.uint8)).save(folder / "0.png")
    with torch.no_grad():
        toy.g_s.weight.zero_()
        toy.g_s.bias.fill_(0.75)  # x_hat is 1.25 everywhere
    assert validate(toy, "white", LOSS)["val_mse"] == 0


def test_ms_ssim_where_it_exists(image_folder: Folder, toy: ToyCodec) -> None:
    image_folder("large", count=2, height=192, width=161)
    image_folder("small", count=1, height=192, width=160)
    found = validate(toy, "large", LossConfig(metric="ms_ssim", lmbda=8.73))
    assert 0 < found["val_ms_ssim_db"] < 20
    assert found["val_mse"] > 0
    assert "val_ms_ssim_db" not in validate(toy, "small", LOSS)
    with pytest.raises(ConfigError, match=r"loss\.metric: ms_ssim cannot be validated on .*small"):
        validate(toy, "small", LossConfig(metric="ms_ssim", lmbda=8.73))


def test_ms_ssim_rd_cost_by_hand(image_folder: Folder, toy: ToyCodec) -> None:
    image_folder("one", count=1, height=192, width=192)
    found = validate(toy, "one", LossConfig(metric="ms_ssim", lmbda=8.73))
    similarity = 1 - 10 ** (-found["val_ms_ssim_db"] / 10)
    expected = 8.73 * (1 - similarity) + found["val_bpp"]
    assert found["val_rd_cost"] == pytest.approx(expected, rel=1e-5)


def test_without_the_package_of_ms_ssim(
    image_folder: Folder, toy: ToyCodec, monkeypatch: pytest.MonkeyPatch
) -> None:
    image_folder("large", count=1, height=192, width=192)
    monkeypatch.setitem(sys.modules, "pytorch_msssim", None)
    assert "val_ms_ssim_db" not in validate(toy, "large", LOSS)


def test_a_broken_model_gives_no_number_and_no_error(image_folder: Folder, toy: ToyCodec) -> None:
    image_folder("large", count=1, height=192, width=192)
    with torch.no_grad():
        toy.g_s.bias.fill_(math.nan)
    found = validate(toy, "large", LOSS)
    assert math.isnan(found["val_rd_cost"])
    assert math.isfinite(found["val_bpp"])
