"""Inspections as pictures: colours that keep their order, captions, sizes."""

from __future__ import annotations

import numpy as np
import pytest

from hpcm.evaluation.contact_sheet import (
    _ERROR,
    _RATE,
    brightest,
    captions,
    contact_sheet,
    heat,
    pictures,
)
from hpcm.evaluation.inspection import BLOCK, Inspection, spectrum
from hpcm.evaluation.padding import Padding
from hpcm.evaluation.spectrum_plot import mean_spectrum
from tests.conftest import synthetic_image

LUMA = np.array([0.299, 0.587, 0.114])


def inspection(error: float = 4.0, seed: int = 0) -> Inspection:
    """An image of 100 x 200 whose s3 spends ever more bits to the right."""
    picture = synthetic_image(100, 200, seed)
    shapes = {part: (256 // side, 256 // side) for part, side in BLOCK.items()}
    bits = {part: np.ones(shape) for part, shape in shapes.items()}
    bits["s3"] = np.arange(16) * np.ones((16, 1)) * 10
    flat = np.full((100, 200), error, dtype=np.float32)
    spectra = dict.fromkeys(("image", "reconstruction", "error", "s1", "s2", "s3"))
    found = {kind: spectrum(picture.mean(axis=2)[None], 1) for kind in spectra}
    errors = {"error": flat, "low": flat * 0.6, "rest": flat * 0.8}
    return Inspection(picture, picture, errors, bits, found, Padding.to_multiple(100, 200, 256))


@pytest.mark.parametrize("palette", [_RATE, _ERROR])
def test_lighter_is_more(palette: np.ndarray) -> None:
    ramp = np.linspace(0, 2, 500, dtype=np.float32)[None]
    colours = heat(ramp, 2, palette)[0]
    grey = colours @ LUMA
    assert (np.diff(grey) >= -0.6).all()  # colours are rounded
    assert grey[-1] - grey[0] > 180
    np.testing.assert_array_equal(heat(ramp * 9, 2, palette)[0, -1], colours[-1])
    assert not heat(ramp * 0, 0, palette).any(axis=(0, 1))[:2].any()


def test_the_lightest_colour_stands_for_what_the_pictures_reach() -> None:
    one = inspection()
    tops = brightest([one, inspection(8.0)])
    assert tops["error"] == 8
    assert tops["z"] == pytest.approx(1 / 64**2)
    last = (Padding.to_multiple(100, 200, 256).left + 199) // 16 * 10 / 256
    assert tops["s3"] == pytest.approx(last)
    shown = pictures(one, tops)
    assert {picture.shape for picture in shown.values()} == {(100, 200, 3)}
    assert (shown["s3"][50, 199] @ LUMA) > (shown["s3"][50, 100] @ LUMA) > 60


def test_captions_say_the_numbers() -> None:
    one = inspection()
    texts = captions(one, brightest([one]), 0.01)
    assert texts["error"] == "RMS 4.00, lmbda D 0.160 bpp"
    assert texts["image"] == "200x100"
    total = sum(one.bpp.values())
    assert texts["rate"] == f"{total:.4f} bpp, {one.padding_bpp:.4f} in the padding"
    assert texts["z"].startswith(f"{16 / 20000:.4f} bpp, {16 / 20000 / total:.1%}")
    assert "bpp" not in captions(one, brightest([one]), None)["error"]


def test_a_sheet_has_all_images_below_one_another() -> None:
    single = contact_sheet({"a": inspection()}, "one")
    both = contact_sheet({"a": inspection(), "b": inspection(seed=3)}, "two")
    assert single.shape[1] == both.shape[1]
    head = 16 + 64 + 16  # title and scales, and the lower margin
    assert both.shape[0] - head == 2 * (single.shape[0] - head)
    assert (single[0] == 255).all()
    assert (single[:, 16:232] != both[: len(single), 16:232]).sum() < 3000  # the title
    small = contact_sheet({"a": inspection()}, "small", thumb=60)
    assert small.shape[1] == 60 * 5 + 4 * 8 + 2 * 16


def test_an_image_without_error_is_drawn() -> None:
    perfect = inspection(0.0)
    assert perfect.psnr == float("inf")
    assert contact_sheet({"a": perfect}, "perfect").shape[2] == 3


def test_spectra_of_different_sizes_average() -> None:
    flat = [spectrum(np.random.default_rng(n).normal(0, 1, (1, n, n)), 1) for n in (16, 64)]
    mean = mean_spectrum(flat)
    np.testing.assert_array_equal(mean.frequency, flat[0].frequency)
    empty = spectrum(np.ones((1, 1, 1)), 1)
    assert len(mean_spectrum([empty]).power) == 0
    np.testing.assert_array_equal(mean_spectrum([empty, flat[1]]).power, flat[1].power)
