"""Every kind of file an image folder may hold becomes RGB of 8 bits, as documented."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hpcm.evaluation.decoding import DAMAGED, inspect, read_rgb
from tests.conftest import synthetic_image

PICTURE = synthetic_image(24, 40, seed=1)  # (24, 40, 3)
GREY = PICTURE[..., 0]

# name of the file: (what is saved, what must be read)
EXACT: dict[str, tuple[Image.Image, np.ndarray]] = {
    "rgb.png": (Image.fromarray(PICTURE), PICTURE),
    "rgb.webp": (Image.fromarray(PICTURE), PICTURE),
    "grey.png": (Image.fromarray(GREY), np.repeat(GREY[..., None], 3, axis=2)),
    "grey16.png": (
        Image.fromarray(GREY.astype(np.uint16) * 256 + 200),
        np.repeat(GREY[..., None], 3, axis=2),
    ),
    "alpha.png": (Image.fromarray(np.dstack([PICTURE, GREY])), PICTURE),
    "grey_alpha.png": (
        Image.merge("LA", [Image.fromarray(GREY)] * 2),
        np.repeat(GREY[..., None], 3, axis=2),
    ),
    "black_and_white.png": (
        Image.fromarray(GREY).point(lambda value: 255 * (value > 127), "1"),
        np.repeat((255 * (GREY > 127)).astype(np.uint8)[..., None], 3, axis=2),
    ),
}


@pytest.mark.parametrize("name", EXACT)
def test_a_lossless_file_gives_its_own_colours(name: str, tmp_path: Path) -> None:
    image, expected = EXACT[name]
    image.save(tmp_path / name, **({"lossless": True} if name.endswith("webp") else {}))
    pixels = read_rgb(tmp_path / name)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, expected)
    assert inspect(tmp_path / name) == (40, 24)


def test_a_palette_with_a_transparent_colour(tmp_path: Path) -> None:
    palette = Image.fromarray(PICTURE).quantize(16)
    palette.save(tmp_path / "palette.png", transparency=bytes(range(0, 160, 10)))
    np.testing.assert_array_equal(
        read_rgb(tmp_path / "palette.png"), np.asarray(palette.convert("RGB"))
    )


def test_cmyk_is_converted(tmp_path: Path) -> None:
    red = np.zeros((24, 40, 4), np.uint8)
    red[..., 1:3] = 255  # magenta and yellow
    Image.merge("CMYK", [Image.fromarray(red[..., c].copy()) for c in range(4)]).save(
        tmp_path / "red.jpg", quality=95
    )
    pixels = read_rgb(tmp_path / "red.jpg").astype(int)
    assert np.abs(pixels - [255, 0, 0]).max() <= 4


# What a viewer shows of each EXIF orientation, as moves of the stored array.
UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("suffix", ["png", "webp", "jpg"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_applied(orientation: int, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"turned.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"webp": {"lossless": True}, "jpg": {"quality": 100, "subsampling": 0}}
    Image.fromarray(PICTURE).save(path, exif=exif, **lossless.get(suffix, {}))
    with Image.open(path) as stored:
        expected = UPRIGHT[orientation](np.asarray(stored))
    pixels = read_rgb(path)
    np.testing.assert_array_equal(pixels, expected)
    assert inspect(path) == (pixels.shape[1], pixels.shape[0])
    np.testing.assert_array_equal(read_rgb(path, (3, 2, 19, 18)), expected[2:18, 3:19])


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
@pytest.mark.parametrize("kept", [0.9, 0.4])
def test_a_truncated_file_is_noticed_from_its_end(suffix: str, kept: float, tmp_path: Path) -> None:
    path = tmp_path / f"whole.{suffix}"
    Image.fromarray(synthetic_image(96, 96, seed=2)).save(path)
    inspect(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(DAMAGED):
        inspect(path)


def test_a_jpeg_with_something_appended_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "appended.jpg"
    Image.fromarray(PICTURE).save(path)
    path.write_bytes(path.read_bytes() + bytes(10_000))
    assert inspect(path) == (40, 24)


def test_a_box_outside_the_pixels_is_refused(tmp_path: Path) -> None:
    Image.fromarray(PICTURE).save(tmp_path / "small.png")
    with pytest.raises(ValueError, match="is 40x24"):
        read_rgb(tmp_path / "small.png", (0, 0, 41, 24))


def test_floating_point_is_refused_and_not_clipped_to_black(tmp_path: Path) -> None:
    Image.fromarray(GREY.astype(np.float32) / 255).save(tmp_path / "linear.tiff")
    with pytest.raises(ValueError, match="floating point; convert it"):
        read_rgb(tmp_path / "linear.tiff")
