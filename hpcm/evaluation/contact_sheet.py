"""Inspections as pictures: heat maps, one per image and kind, and all of them on one sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from hpcm.evaluation.inspection import BLOCK, Inspection, Map

Picture = NDArray[np.uint8]  # (H, W, 3)

# Black to light, so that a grey print keeps the order; read as colours of 0, 1/4 .. 1.
_RATE = np.array([[0, 0, 4], [59, 15, 112], [35, 119, 142], [90, 200, 100], [253, 231, 37]])
_ERROR = np.array([[0, 0, 4], [101, 21, 110], [212, 72, 66], [251, 159, 58], [252, 255, 164]])
_TITLES = {
    "image": "image",
    "reconstruction": "reconstruction",
    "error": "error",
    "low": "error, 4x4 means",
    "rest": "error, the rest",
    "rate": "all bits",
    "z": "bits of z",
    "s1": "bits of s1",
    "s2": "bits of s2",
    "s3": "bits of s3",
}
_GAP, _LINE, _MARGIN = 8, 15, 16  # pixels of the sheet


def heat(values: Map, top: float, palette: NDArray[np.int64] = _RATE) -> Picture:
    """Values (H, W) from 0 to ``top`` as colours, by their square root so that small ones show."""
    place = np.sqrt(np.clip(values / top if top > 0 else values * 0, 0, 1))
    steps = np.linspace(0, 1, len(palette))
    planes = [np.interp(place, steps, palette[:, channel]) for channel in range(3)]
    return np.stack(planes, axis=-1).round().astype(np.uint8)


def pictures(one: Inspection, tops: Mapping[str, float]) -> dict[str, Picture]:
    """Every picture of an image, (H, W, 3) each, with colours that reach ``tops``."""
    errors = {name: heat(values, tops["error"], _ERROR) for name, values in one.errors.items()}
    rates = {part: heat(one.rate_map(part), tops[part]) for part in BLOCK}
    return {
        "image": one.image,
        "reconstruction": one.reconstruction,
        **errors,
        "rate": heat(one.rate_map(), tops["rate"]),
        **rates,
    }


def brightest(inspections: Sequence[Inspection]) -> dict[str, float]:
    """What the lightest colour stands for: the 99.5th percentile over the pixels of the images.

    "error" in 8-bit levels, for all error maps; "rate", "z", "s1" .. in bits per pixel.
    """
    maps = {
        "error": [_some(one.errors["error"]) for one in inspections],
        "rate": [_some(one.rate_map()) for one in inspections],
        **{part: [_some(one.rate_map(part)) for one in inspections] for part in BLOCK},
    }
    return {name: float(np.percentile(np.concatenate(many), 99.5)) for name, many in maps.items()}


def _some(values: Map) -> Map:
    """At most about a million of the values, evenly chosen; (n,)."""
    every = max(1, round((values.size / 1e6) ** 0.5))
    return values[::every, ::every].ravel()


def contact_sheet(
    inspections: Mapping[str, Inspection], title: str, thumb: int = 216, lmbda: float | None = None
) -> Picture:
    """Two rows per image on a white sheet: the image and its errors, then its bits.

    ``thumb`` is the width of a picture in pixels. With ``lmbda`` (of MSE) the errors are also given
    in bits per pixel, as ``rd_cost`` counts them.
    """
    tops = brightest(list(inspections.values()))
    rows = ("image", "reconstruction", "error", "low", "rest"), ("rate", *BLOCK)
    width = 5 * thumb + 4 * _GAP + 2 * _MARGIN
    blocks = [_block(name, one, tops, rows, thumb, lmbda) for name, one in inspections.items()]
    head = _head(width, title, tops)
    height = head.height + sum(block.height for block in blocks) + _MARGIN
    sheet = Image.new("RGB", (width, height), "white")
    sheet.paste(head, (0, 0))
    top = head.height
    for block in blocks:
        sheet.paste(block, (_MARGIN, top))
        top += block.height
    return np.asarray(sheet)


def _block(
    name: str,
    one: Inspection,
    tops: Mapping[str, float],
    rows: Sequence[Sequence[str]],
    thumb: int,
    lmbda: float | None,
) -> Image.Image:
    """All pictures of one image with their captions."""
    height = max(1, round(thumb * one.image.shape[0] / one.image.shape[1]))
    cell = height + 2 * _LINE + _GAP
    block = Image.new("RGB", (5 * thumb + 4 * _GAP, len(rows) * cell + _LINE + 2 * _GAP), "white")
    pen = ImageDraw.Draw(block)
    pen.text((0, 0), name, fill="black", font=_font(13))
    texts, shown = captions(one, tops, lmbda), pictures(one, tops)
    for row, kinds in enumerate(rows):
        for column, kind in enumerate(kinds):
            left, top = column * (thumb + _GAP), _LINE + _GAP + row * cell
            small = Image.fromarray(shown[kind]).resize((thumb, height), Image.Resampling.BOX)
            block.paste(small, (left, top))
            pen.text((left, top + height + 1), _TITLES[kind], fill="black", font=_font(11))
            pen.text((left, top + height + 1 + _LINE - 2), texts[kind], fill="#555", font=_font(11))
    return block


def captions(one: Inspection, tops: Mapping[str, float], lmbda: float | None) -> dict[str, str]:
    """The numbers under each picture."""
    bpp, rate = one.bpp, sum(one.bpp.values())
    texts = {
        "image": f"{one.image.shape[1]}x{one.image.shape[0]}",
        "reconstruction": f"{one.psnr:.2f} dB",
        "rate": f"{rate:.4f} bpp, {one.padding_bpp:.4f} in the padding",
    }
    for name, mse in one.mse.items():
        cost = "" if lmbda is None else f", lmbda D {lmbda * mse:.3f} bpp"
        texts[name] = f"RMS {np.sqrt(mse):.2f}{cost}"
    return texts | {
        part: f"{bpp[part]:.4f} bpp, {bpp[part] / rate:.1%}; yellow {tops[part]:.2g}"
        for part in bpp
    }


def _head(width: int, title: str, tops: Mapping[str, float]) -> Image.Image:
    """Title, and the scales of colour of errors and of all bits."""
    head = Image.new("RGB", (width, _MARGIN + 64), "white")
    pen = ImageDraw.Draw(head)
    pen.text((_MARGIN, _MARGIN - 6), title, fill="black", font=_font(15))
    scales = (
        ("errors, 8-bit levels", tops["error"], _ERROR),
        ("all bits, per pixel", tops["rate"], _RATE),
    )
    for index, (text, top, palette) in enumerate(scales):
        left, bar = _MARGIN + index * width // 2, 160
        ramp = np.tile(np.linspace(0, top, bar, dtype=np.float32), (12, 1))
        pen.text((left, _MARGIN + 20), text, fill="black", font=_font(11))
        head.paste(Image.fromarray(heat(ramp, top, palette)), (left + 120, _MARGIN + 20))
        for share in (0, 0.25, 0.5, 1):
            place = left + 120 + share * bar
            label = f"{share * top:.3g}" + (" or more" if share == 1 else "")
            pen.text((place, _MARGIN + 34), label, fill="#555", font=_font(10), anchor="ma")
    return head


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
