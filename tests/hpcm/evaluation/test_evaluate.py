"""Whole-image evaluation: the published protocol by hand, estimated and coded."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from hpcm import ConfigError
from hpcm.evaluation.image_sets import SkippedImages, image_set
from hpcm.evaluation.images import evaluate, validate
from hpcm.losses import LossConfig
from tests.conftest import synthetic_image
from tests.toy_codec import ToyCodec

Folder = Callable[..., Path]


class Coder(ToyCodec):
    """Writes its latent as text: a real, if wasteful, bitstream."""

    def compress(self, x: Tensor) -> dict:
        y_hat = (4 * self.g_a(x)).round()
        return {
            "strings": [[str(y_hat.int().flatten().tolist()).encode()], []],
            "shape": y_hat.shape,
        }

    def decompress(self, strings: list, shape: torch.Size) -> dict[str, Tensor]:
        numbers = np.fromstring(strings[0][0].decode()[1:-1], sep=",", dtype=np.float32)
        return {"x_hat": (self.g_s(torch.from_numpy(numbers).reshape(shape)) + 0.5).clamp(0, 1)}


@pytest.fixture
def coder() -> Coder:
    torch.manual_seed(3)
    return Coder()


def test_psnr_is_of_the_image_that_would_be_written(image_folder: Folder, coder: Coder) -> None:
    folder = image_folder("pair", count=2, height=192, width=200)
    found = evaluate(coder, "pair")
    expected = []
    for path in sorted(folder.iterdir()):
        stored = np.asarray(Image.open(path))
        x = torch.from_numpy(stored / 255).permute(2, 0, 1)[None].float()
        with torch.no_grad():
            x_hat = coder.eval()(torch.nn.functional.pad(x, (28, 28, 0, 0)))["x_hat"][..., 28:-28]
        written = np.clip(np.rint(x_hat[0].permute(1, 2, 0).numpy() * 255), 0, 255)
        expected.append(20 * math.log10(255 / np.sqrt(np.mean((written - stored) ** 2))))
    assert [row["psnr-rgb"] for row in found.images] == pytest.approx(expected, rel=1e-5)
    assert found.results["psnr-rgb"] == pytest.approx([sum(expected) / 2], rel=1e-5)
    decibels = [-10 * math.log10(1 - row["ms-ssim-rgb"]) for row in found.images]
    assert found.results["ms-ssim-rgb-db"] == pytest.approx([sum(decibels) / 2], rel=1e-4)


def test_the_real_rate_counts_the_bytes(image_folder: Folder, coder: Coder) -> None:
    folder = image_folder("coded", count=1, height=128, width=192)
    found = evaluate(coder, "coded", real=True, name="toy", source={"lmbda": 0.013})
    x = torch.from_numpy(np.asarray(Image.open(folder / "000.png")) / 255)
    with torch.no_grad():
        strings = coder.compress(x.permute(2, 0, 1)[None].float())["strings"]
    assert found.results["bpp"] == [8 * len(strings[0][0]) / (128 * 192)]
    estimated = evaluate(coder, "coded")
    assert found.results["psnr-rgb"] == pytest.approx(estimated.results["psnr-rgb"])
    row, of_estimate = found.images[0], estimated.images[0]
    assert row["bpp-estimated"] == of_estimate["bpp"]
    assert (row["bpp-y"], row["bpp-z"]) == (row["bpp"], 0)  # it has one string
    for scale in ("bpp-s1", "bpp-s2", "bpp-s3"):
        share = of_estimate[scale] / of_estimate["bpp-y"]
        assert row[scale] / row["bpp-y"] == pytest.approx(share)
    assert min(found.results["encoding_time"] + found.results["decoding_time"]) > 0
    assert found.conditions["rate"] == "real"
    assert found.points[0]["lmbda"] == 0.013
    with pytest.raises(ConfigError, match="ToyCodec has no bitstream"):
        evaluate(ToyCodec(), "coded", real=True)


def test_the_parts_of_the_rate_are_those_of_validation(image_folder: Folder, coder: Coder) -> None:
    image_folder("parts", count=2, height=64, width=80)
    row_means = evaluate(coder, "parts").results
    for key, value in validate(coder, "parts", LossConfig()).items():
        if key.startswith("val_bpp") and not key.endswith("_se"):
            name = key.removeprefix("val_").replace("_", "-")
            assert row_means[name] == pytest.approx([value], rel=1e-5)
    assert row_means["bpp-y"][0] + row_means["bpp-z"][0] == pytest.approx(row_means["bpp"][0])


def test_conditions_name_the_images(image_folder: Folder, coder: Coder, tmp_path: Path) -> None:
    image_folder("named", count=2, height=64, width=64)
    by_name = evaluate(coder, "named")
    assert by_name.dataset == "named"
    assert by_name.conditions["images"] == 2
    assert by_name.conditions["fingerprint"] == image_set("named").fingerprint
    assert evaluate(coder, image_set("named")).results == by_name.results
    assert evaluate(coder, tmp_path / "data" / "named").results == by_name.results
    assert "ms-ssim-rgb" not in by_name.results  # 64 pixels are too few


def test_damage_found_late_is_left_out_and_said(image_folder: Folder, coder: Coder) -> None:
    folder = image_folder("late", count=2, height=64, width=64)
    images = image_set("late")
    (folder / "000.png").write_bytes(b"")
    with pytest.warns(SkippedImages, match=r"000\.png"):
        found = evaluate(coder, images)
    assert [row["image"] for row in found.images] == ["001.png"]
    (folder / "001.png").write_bytes(b"")
    with pytest.raises(ConfigError, match="not one of its 2 images can be decoded"):
        evaluate(coder, images)


def test_a_grey_jpeg_is_scored_like_any_image(image_folder: Folder, coder: Coder) -> None:
    folder = image_folder("grey", count=0)
    Image.fromarray(synthetic_image(64, 80, seed=4)[..., 0]).save(folder / "0.jpg")
    row = evaluate(coder, "grey").images[0]
    assert (row["width"], row["height"]) == (80, 64)


class Bare(nn.Module):
    """A network that is no codec."""

    def __init__(self, **attributes: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 1)
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, x: torch.Tensor) -> object:
        return {"x_hat": self.layer(x), "likelihoods": {}}


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Conv2d(3, 3, 1), "Conv2d cannot be evaluated here: it has no stride"),
        (nn.Identity(), "Identity cannot be evaluated here: it has no stride .* or no weights"),
        (Bare(stride=8), "Bare cannot be evaluated here: its output has no bits"),
    ],
)
def test_a_foreign_model_is_refused_in_words(
    image_folder: Folder, model: nn.Module, message: str
) -> None:
    image_folder("few", count=1, height=64, width=64)
    with pytest.raises(ConfigError, match=message):
        evaluate(model, "few")
    with pytest.raises(ConfigError, match=message):
        validate(model, "few", LossConfig())
