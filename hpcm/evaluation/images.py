"""`evaluate`: rate and quality of a model on whole images, estimated or from real bitstreams.

The protocol is that of HPCM's published points; ``docs/evaluation.md`` states every condition.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from hpcm.evaluation.image_sets import (
    ImageSet,
    SkippedItem,
    image_folder,
    image_set,
    none_left,
    warn_skipped,
)
from hpcm.evaluation.modes import check_codec, check_outputs, device_of, evaluation_mode, stride_of
from hpcm.evaluation.padding import Padding
from hpcm.evaluation.results import Results, Row
from hpcm.evaluation.validation import Validator, scores_ms_ssim, to_tensor, validate
from hpcm.losses.metrics import MS_SSIM_MIN_SIDE, ms_ssim, ms_ssim_to_db, psnr_8bit
from hpcm.model.coding_order import SCALE_OF_STEP, SCALES
from hpcm.schema import ConfigError

__all__ = ["Validator", "evaluate", "validate"]

SCALE_RATES = [f"bpp-s{scale}" for scale in SCALES]


def evaluate(
    model: nn.Module,
    images: str | Path | ImageSet,
    *,
    real: bool = False,
    name: str = "hpcm",
    source: dict[str, Any] | None = None,
) -> Results:
    """One point of a rate-distortion curve, with a row per image.

    ``images`` is a set's name, or the ``Path`` of a folder. The rate is the entropy model's
    estimate, or with ``real`` the length of the bitstream, and then quality is that of the decoded
    bitstream. MS-SSIM is there under the same condition as in :class:`Validator`. ``source`` says
    which model this is (checkpoint, config digest, lmbda ..) and is kept with the point. Raises
    :class:`ConfigError` for a set that cannot be used, and for ``real`` with a model that does not
    code.
    """
    if real and not hasattr(model, "compress"):
        raise ConfigError(f"{type(model).__name__} has no bitstream; evaluate the estimated rate")
    check_codec(model)
    chosen = _image_set(images)
    with evaluation_mode(model):
        rows = list(_rows(model, chosen, real))
    means = {
        key: [sum(float(row[key]) for row in rows) / len(rows)]
        for key, value in rows[0].items()
        if isinstance(value, float)
    }
    device = device_of(model)
    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return Results(
        name=name,
        dataset=chosen.name,
        description=f"{'bitstream' if real else 'estimated rate'}, mean of {len(rows)} images",
        results=means,
        conditions={
            "rate": "real" if real else "estimated",
            "images": len(rows),
            "fingerprint": chosen.fingerprint,
            "padding": f"zeros, symmetric, to multiples of {model.stride}; cropped back",
            "psnr-rgb": "reconstruction rounded to 8 bits, R, G and B pooled, mean of dB",
            "ms-ssim-rgb": _no_ms_ssim(chosen)
            or "reconstruction not rounded; -db is the mean of dB",
        },
        points=[{**(source or {}), "device": machine, "torch": torch.__version__}],
        images=[{"point": 0, **row} for row in rows],
    )


def _no_ms_ssim(images: ImageSet) -> str:
    """Why MS-SSIM is not among the scores; nothing if it is."""
    if scores_ms_ssim(images):
        return ""
    least = min(images.items, key=lambda item: min(item.width, item.height))
    if min(least.width, least.height) >= MS_SSIM_MIN_SIDE:
        return "not scored: the package pytorch-msssim is not installed"
    return (
        f"not scored: {least.name} is {least.width}x{least.height}, and MS-SSIM needs "
        f"{MS_SSIM_MIN_SIDE} pixels per side"
    )


def _image_set(images: str | Path | ImageSet) -> ImageSet:
    if isinstance(images, ImageSet):
        return images
    return image_folder(images) if isinstance(images, Path) else image_set(images)


def _rows(model: nn.Module, images: ImageSet, real: bool) -> Iterator[Row]:
    """A row per image; floats are scores, integers and text describe."""
    score, similarity = (_coded if real else _estimated), scores_ms_ssim(images)
    damaged = []
    for item in images.items:
        pixels = item.read()
        if isinstance(pixels, SkippedItem):
            damaged.append(pixels)
            continue
        x = to_tensor(pixels)[None].to(device_of(model)).float() / 255  # (1, 3, H, W)
        height, width = x.shape[-2:]
        padding = Padding.to_multiple(height, width, stride_of(model))
        rate, x_hat = score(model, padding.pad(x), height * width)
        quality = _quality(padding.crop(x_hat).clamp(0, 1), x, similarity)
        yield {"image": item.name, "width": width, "height": height, **rate, **quality}
    if len(damaged) == images.count:
        raise ConfigError(none_left(images, damaged[0]))
    warn_skipped(images.name, tuple(damaged))


def _quality(x_hat: Tensor, x: Tensor, with_ms_ssim: bool) -> dict[str, float]:
    quality = {"psnr-rgb": psnr_8bit(x_hat, x).item()}
    if with_ms_ssim:
        value = ms_ssim(x_hat, x)
        quality |= {"ms-ssim-rgb": value.item(), "ms-ssim-rgb-db": ms_ssim_to_db(value).item()}
    return quality


def _estimated(model: nn.Module, x: Tensor, pixels: int) -> tuple[dict[str, float], Tensor]:
    out = model(x)
    check_outputs(model, out)
    steps = out["bits"]["steps"][0].double()  # (11,)
    bits = {"bpp-y": steps.sum(), "bpp-z": out["bits"]["z"][0].double()}
    scales = torch.tensor(SCALE_OF_STEP, device=steps.device)
    for name, scale in zip(SCALE_RATES, SCALES, strict=True):
        bits[name] = steps[scales == scale].sum()
    rate = {name: value.item() / pixels for name, value in bits.items()}
    return {"bpp": rate["bpp-y"] + rate["bpp-z"], **rate}, out["x_hat"]


def _coded(model: nn.Module, x: Tensor, pixels: int) -> tuple[dict[str, float], Tensor]:
    """The stream of y is one: its bytes are shared out to the scales as the estimate's bits are."""
    estimated, _ = _estimated(model, x, pixels)
    started = _now(x)
    codec = cast("Any", model)  # whatever has these two methods
    coded = codec.compress(x)
    encoded = _now(x)
    x_hat = codec.decompress(coded["strings"], coded["shape"])["x_hat"]
    decoded = _now(x)
    y, z = (8 * _bytes(strings) / pixels for strings in coded["strings"])
    scales = {name: estimated[name] * y / estimated["bpp-y"] for name in SCALE_RATES}
    rate = {
        **{"bpp": y + z, "bpp-y": y, "bpp-z": z, **scales, "bpp-estimated": estimated["bpp"]},
        "encoding_time": encoded - started,  # seconds
        "decoding_time": decoded - encoded,
    }
    return rate, x_hat


def _bytes(strings: Any) -> int:
    """Length of all strings of a bitstream, however they are nested."""
    return len(strings) if isinstance(strings, bytes) else sum(_bytes(part) for part in strings)


def _now(x: Tensor) -> float:
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
    return time.perf_counter()
