"""Where the bits of an image go and where its error stays, per scale, per task and per frequency.

The tasks are those of ``exact5``: the error's 4 x 4 means and the rest of it, and the bits of z and
s1, of s2, and of s3. Everything is plain arrays, so that a picture, a report or a notebook draws
them as it likes. Rates are the entropy model's estimate, as in ``evaluate``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hpcm.evaluation.image_sets import ImageSet, SkippedItem
from hpcm.evaluation.modes import device_of, evaluation_mode, stride_of
from hpcm.evaluation.padding import Padding
from hpcm.evaluation.validation import to_tensor
from hpcm.losses.tasks import COARSEST
from hpcm.model.coding_order import SCALE_OF_STEP, SCALES
from hpcm.model.partition import split_eighths, step_of_element, tile
from hpcm.schema import ConfigError

Array = NDArray[np.float64]
Map = NDArray[np.float32]  # (H, W)

#: Parts of the rate, and the side in pixels of the block that one value of a part's map stands for.
BLOCK = {"z": 64, "s1": 64, "s2": 32, "s3": 16}
LATENT = 16  # pixels a side of one position of y
BINS = 24  # of frequency, in a spectrum


@dataclass(frozen=True)
class Spectrum:
    """Power over frequency, averaged over all directions (and channels, of a latent)."""

    frequency: Array  # (n,), cycles per pixel of the image, the middle of each bin
    power: Array  # (n,), mean squared magnitude of a windowed signal without its mean


@dataclass(frozen=True)
class Inspection:
    """One image through a codec: (H, W) are the image's own pixels."""

    image: NDArray[np.uint8]  # (H, W, 3)
    reconstruction: NDArray[np.uint8]  # (H, W, 3), rounded as it would be written
    errors: dict[str, Map]  # "error", and its parts "low" and "rest", see error_maps
    bits: dict[str, Array]  # "z", "s1", "s2", "s3": bits of each block of the padded image
    spectra: dict[str, Spectrum]  # of image, reconstruction, error, and of y_hat after s1, s2, s3
    padding: Padding

    @property
    def bpp(self) -> dict[str, float]:
        """Bits per pixel of each part; those of the padding count, as in ``evaluate``."""
        return {part: float(grid.sum()) / self.pixels for part, grid in self.bits.items()}

    @property
    def padding_bpp(self) -> float:
        """What of the rate lies outside the image, in bits per pixel of the image."""
        inside = float(self.rate_map().sum(dtype=np.float64))
        return sum(self.bpp.values()) - inside / self.pixels

    @property
    def psnr(self) -> float:
        """In dB, of the rounded reconstruction; infinite if it equals the image."""
        mse = self.mse["error"]
        return float(10 * np.log10(255**2 / mse)) if mse else float("inf")

    @property
    def mse(self) -> dict[str, float]:
        """Mean squared error of each map in ``errors``, in squared 8-bit levels."""
        return {
            name: float(np.square(values, dtype=np.float64).mean())
            for name, values in self.errors.items()
        }

    @property
    def pixels(self) -> int:
        """The pixels of the image, without its padding."""
        return self.image.shape[0] * self.image.shape[1]

    def rate_map(self, part: str | None = None) -> Map:
        """Bits per pixel at every pixel (H, W), of one part or of all.

        The bits of a block are spread over it evenly.
        """
        if part is None:
            total: Map = np.sum([self.rate_map(one) for one in self.bits], axis=0, dtype=np.float32)
            return total
        side = BLOCK[part]
        density = (self.bits[part] / side**2).astype(np.float32)
        spread = density.repeat(side, axis=0).repeat(side, axis=1)
        height, width = self.image.shape[:2]
        top, left = self.padding.top, self.padding.left
        return spread[top : top + height, left : left + width]


def inspect_images(model: nn.Module, images: ImageSet, most: int) -> dict[str, Inspection]:
    """:func:`inspect_image` of the first ``most`` images of a set, by name.

    Raises :class:`ConfigError` for an image that cannot be decoded, too.
    """
    inspections = {}
    for item in images.items[:most]:
        pixels = item.read()
        if isinstance(pixels, SkippedItem):
            raise ConfigError(f"{item.path}: cannot be read as an image: {pixels.reason}")
        inspections[item.name] = inspect_image(model, pixels)
    return inspections


def inspect_image(model: nn.Module, pixels: NDArray[np.uint8]) -> Inspection:
    """Run an image (H, W, 3) through a model and take its rate and its error apart.

    Raises :class:`ConfigError` for a model without HPCM's coding steps.
    """
    if not hasattr(model, "step_membership"):
        raise ConfigError(f"{type(model).__name__} has no coding steps; only HPCM can be inspected")
    x = to_tensor(pixels)[None].to(device_of(model)).float() / 255  # (1, 3, H, W)
    height, width = pixels.shape[:2]
    padding = Padding.to_multiple(height, width, stride_of(model))
    with evaluation_mode(model):
        out = model(padding.pad(x))
    x_hat = out["x_hat"].clamp(0, 1)
    error = 255 * (x_hat - padding.pad(x))[0].double()  # (3, H, W) with padding
    written = (padding.crop(x_hat)[0] * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    pictures = {"image": pixels, "reconstruction": written}
    grey = {name: picture.astype(np.float64).mean(axis=2) for name, picture in pictures.items()}
    grey["error"] = grey["reconstruction"] - grey["image"]
    return Inspection(
        image=pixels,
        reconstruction=written,
        errors=error_maps(pixels, written, error, padding),
        bits=bit_grids(out["likelihoods"]),
        spectra={
            **{name: spectrum(values[None], 1) for name, values in grey.items()},
            **{
                scale: spectrum(latent[0].double().cpu().numpy(), LATENT * 2 ** (2 - index))
                for index, (scale, latent) in enumerate(out["latents"].items())
            },
        },
        padding=padding,
    )


def error_maps(
    pixels: NDArray[np.uint8], written: NDArray[np.uint8], error: Tensor, padding: Padding
) -> dict[str, Map]:
    """Root mean square over R, G and B at every pixel (H, W), in 8-bit levels.

    ``error`` is that of the image as it would be written. ``low`` and ``rest`` are the parts that
    the tasks of ``exact5`` have: the mean of each 4 x 4 block, and the difference from it, of the
    reconstruction before it is rounded. Blocks are those of the padded image.
    """
    whole = (written.astype(np.float64) - pixels).transpose(2, 0, 1)  # (3, H, W)
    means = torch.nn.functional.avg_pool2d(error[None], COARSEST)[0]
    low = means.repeat_interleave(COARSEST, -1).repeat_interleave(COARSEST, -2)
    parts = {"low": low, "rest": error - low}
    cropped = {name: padding.crop(value).cpu().numpy() for name, value in parts.items()}
    return {
        name: np.sqrt(np.square(values).mean(axis=0)).astype(np.float32)
        for name, values in {"error": whole, **cropped}.items()
    }


def bit_grids(likelihoods: dict[str, Tensor]) -> dict[str, Array]:
    """Bits of one image's z and of y's three scales, each on the grid of its own blocks.

    ``likelihoods`` are y (1, M, H, W) and z (1, N, H/4, W/4). A scale's value is the sum over all
    of its elements in the block, whatever the channel.
    """
    bits = {name: -torch.log2(value.double()) for name, value in likelihoods.items()}
    eighths = split_eighths(bits["y"], bits["y"].shape[1])[0, 0].sum(1)  # (8, H, W)
    scale_of = torch.tensor((0, *SCALE_OF_STEP))[step_of_element()].to(eighths.device)
    scales = tile(scale_of, *eighths.shape[-2:])  # (8, H, W)
    grids = {"z": bits["z"][0].sum(0)}
    for scale in SCALES:
        own = torch.where(scales == scale, eighths, 0).sum(0)  # (H, W)
        side = BLOCK[f"s{scale}"] // LATENT
        grids[f"s{scale}"] = own.unflatten(1, (-1, side)).unflatten(0, (-1, side)).sum((1, 3))
    return {name: grid.cpu().numpy() for name, grid in grids.items()}


def spectrum(planes: Array, spacing: float) -> Spectrum:
    """The power spectrum of ``planes`` (channels, H, W), with samples ``spacing`` pixels apart.

    A Hann window is applied; its power is divided out. Frequencies reach half a cycle per sample. A
    single sample has no frequency.
    """
    height, width = planes.shape[-2:]
    window = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])
    centred = planes - planes.mean(axis=(-2, -1), keepdims=True)
    power = np.abs(np.fft.fft2(centred * window)) ** 2 / np.square(window).sum()
    power = power.mean(axis=0)  # (H, W)
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(height), np.fft.fftfreq(width), indexing="ij"))
    edges = np.linspace(0, 0.5, min(BINS, max(height, width, 2) // 2) + 1)
    place = np.digitize(radius.ravel(), edges) - 1
    inside = (place < len(edges) - 1) & (radius.ravel() > 0)
    count = np.bincount(place[inside], minlength=len(edges) - 1)
    total = np.bincount(place[inside], power.ravel()[inside], minlength=len(edges) - 1)
    middle = (edges[:-1] + edges[1:]) / 2
    return Spectrum(middle[count > 0] / spacing, total[count > 0] / count[count > 0])
