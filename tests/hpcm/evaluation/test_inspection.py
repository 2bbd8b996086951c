"""Where bits and error are: against ``evaluate``, a plain count of places, and closed forms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from hpcm import ConfigError
from hpcm.evaluation.image_sets import image_set
from hpcm.evaluation.images import evaluate
from hpcm.evaluation.inspection import BLOCK, bit_grids, inspect_image, spectrum
from hpcm.evaluation.padding import Padding
from hpcm.losses.tasks import haar_split
from hpcm.model.coding_order import S1_IN_S2, S2_IN_S3
from tests.conftest import synthetic_image
from tests.toy_codec import ToyCodec

PICTURE = synthetic_image(200, 300, seed=6)  # not multiples of 256: there is padding


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    from hpcm.model import build_model

    torch.manual_seed(1)
    return build_model("hpcm_tiny")


def test_the_parts_are_those_of_evaluate(
    model: torch.nn.Module, image_folder: Callable[..., object]
) -> None:
    image_folder("pair", count=2, height=200, width=300)
    rows = evaluate(model, "pair").images
    for item, row in zip(image_set("pair").items, rows, strict=True):
        found = inspect_image(model, item.read())
        for part, rate in found.bpp.items():
            assert rate == pytest.approx(row[f"bpp-{part}"], rel=1e-5)
        assert found.psnr == pytest.approx(row["psnr-rgb"], rel=1e-5)


def test_the_maps_and_the_padding_hold_all_bits(model: torch.nn.Module) -> None:
    found = inspect_image(model, PICTURE)
    total = sum(found.bpp.values())
    assert found.rate_map().shape == PICTURE.shape[:2]
    assert found.rate_map().mean() + found.padding_bpp == pytest.approx(total, rel=1e-5)
    assert found.padding_bpp > 0
    for part, grid in found.bits.items():
        assert grid.shape == (256 // BLOCK[part], 512 // BLOCK[part])
        top, left = found.padding.top, found.padding.left
        value = grid[(top + 70) // BLOCK[part], (left + 131) // BLOCK[part]] / BLOCK[part] ** 2
        assert found.rate_map(part)[70, 131] == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_every_element_counts_in_the_scale_and_block_that_codes_it(seed: int) -> None:
    """One bit each in a few elements, placed by the nesting of the grids instead of the steps."""
    rng = np.random.default_rng(seed)
    y, z = torch.ones(1, 64, 16, 32), torch.ones(1, 4, 4, 8)
    expected = {part: np.zeros((256 // side, 512 // side)) for part, side in BLOCK.items()}
    for _ in range(200):
        channel, row, column = (int(rng.integers(n)) for n in (64, 16, 32))
        if y[0, channel, row, column] != 1:
            continue
        y[0, channel, row, column] = 0.5
        eighth = channel // 8
        scale = "s3"
        if (row % 2, column % 2) == S2_IN_S3[eighth]:
            scale = "s2"
            if (row // 2 % 2, column // 2 % 2) == S1_IN_S2[eighth]:
                scale = "s1"
        side = BLOCK[scale] // 16
        expected[scale][row // side, column // side] += 1
    z[0, 2, 3, 5] = 0.25
    expected["z"][3, 5] += 2
    found = bit_grids({"y": y, "z": z})
    for part, grid in expected.items():
        np.testing.assert_array_equal(found[part], grid, err_msg=part)
    assert all(grid.sum() > 0 for grid in expected.values())


def test_the_error_splits_into_the_tasks_of_exact5(model: torch.nn.Module) -> None:
    picture = synthetic_image(256, 512, seed=8)
    found = inspect_image(model, picture)
    x = torch.from_numpy(picture / 255).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        x_hat = model.eval()(x)["x_hat"].clamp(0, 1)
    low, rest = (255**2 * value.item() for value in haar_split(x_hat, x))
    assert found.mse["low"] == pytest.approx(low, rel=1e-5)
    assert found.mse["rest"] == pytest.approx(rest, rel=1e-5)
    rounded = (x_hat * 255).round() - x * 255
    assert found.mse["error"] == pytest.approx(rounded.square().mean().item(), rel=1e-5)
    np.testing.assert_allclose(
        found.errors["error"], rounded[0].square().mean(0).sqrt().numpy(), atol=1e-4
    )
    assert found.reconstruction.dtype == np.uint8


def test_the_model_is_left_as_it_was(model: torch.nn.Module) -> None:
    model.train()
    first = inspect_image(model, PICTURE)
    assert model.training
    np.testing.assert_array_equal(first.rate_map(), inspect_image(model, PICTURE).rate_map())


def test_white_noise_has_a_flat_spectrum_of_its_variance() -> None:
    noise = np.random.default_rng(0).normal(5, 3, (4, 128, 160))
    found = spectrum(noise, 16)
    np.testing.assert_allclose(found.power[2:], 9, rtol=0.25)  # 60 samples in the smallest bin
    assert found.power[2:].mean() == pytest.approx(9, rel=0.02)
    assert 0 < found.frequency[0] < found.frequency[-1] < 1 / 32


@pytest.mark.parametrize("cycles", [0.06, 0.31])
def test_a_wave_peaks_at_its_frequency(cycles: float) -> None:
    x = np.arange(256)
    wave = np.cos(2 * np.pi * cycles * x)[None, None, :] * np.ones((1, 256, 1))
    found = spectrum(wave, 1)
    width = found.frequency[1] - found.frequency[0]
    assert found.frequency[found.power.argmax()] == pytest.approx(cycles, abs=width / 2 + 0.004)


def test_tiny_images_have_what_spectrum_they_can() -> None:
    assert len(spectrum(np.ones((1, 1, 1)), 1).power) == 0
    assert len(spectrum(np.eye(3)[None], 1).power) == 1


def test_another_model_is_refused() -> None:
    with pytest.raises(ConfigError, match="ToyCodec has no coding steps; only HPCM can be"):
        inspect_image(ToyCodec(), PICTURE)


def test_padding_is_that_of_the_image(model: torch.nn.Module) -> None:
    assert inspect_image(model, PICTURE).padding == Padding.to_multiple(200, 300, 256)
