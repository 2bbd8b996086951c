"""One image file to RGB of 8 bits per sample: the only place that knows Pillow.

Rules, the same for training and evaluation:

* the EXIF orientation is applied, so an image is what a viewer shows;
* grey, palette and CMYK images are converted by Pillow; colour profiles are not applied;
* alpha is dropped, colours under it stay as stored;
* 16 bits per sample keep their upper 8; of an animation the first frame is read;
* samples of floating point have no agreed range and are refused.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hpcm.files import open_file

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")

#: What Pillow raises for a file that is cut short, damaged or no image at all.
DAMAGED = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)

_TAIL = 4096  # bytes searched for the end marker of a JPEG
_TURN = {  # EXIF orientation to the move that undoes it
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112
_SWAPS_SIDES = (5, 6, 7, 8)


def inspect(path: Path) -> tuple[int, int]:
    """Width and height as decoded, from the header; cheap enough for tens of thousands of files.

    A file whose end does not look like the end of its format is decoded in full, to be sure.
    Raises one of :data:`DAMAGED` if it cannot be read.
    """
    with open_file(path) as file, Image.open(file) as image:
        if not _ends_properly(path, image.format):
            image.load()
        width, height = image.size
        return (height, width) if _orientation(image) in _SWAPS_SIDES else (width, height)


def read_rgb(path: Path, box: tuple[int, int, int, int] | None = None) -> NDArray[np.uint8]:
    """The image, or its ``box`` (left, top, right, bottom), as uint8 of shape (H, W, 3).

    Converts only the box, which saves half the time on large photographs. Raises one of
    :data:`DAMAGED` if the file cannot be read.
    """
    with open_file(path) as file, Image.open(file) as image:
        turn = _TURN.get(_orientation(image))
        image.load()
        upright = image.transpose(turn) if turn is not None else image
        if box is not None and (box[2] > upright.width or box[3] > upright.height):
            raise ValueError(f"is {upright.width}x{upright.height}, smaller than its header said")
        part = upright.crop(box) if box is not None else upright
        return np.array(_to_rgb(part))  # (H, W, 3)


def reason_of(error: BaseException) -> str:
    """What one of :data:`DAMAGED` says of a file, on one line and without its path."""
    message = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    text = " ".join(message.split()) or type(error).__name__
    return "not an image" if "cannot identify image file" in text else text


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 if there is none; in a PNG, only what comes before the pixels counts."""
    if image.format == "PNG" and "exif" not in image.info:
        return 1  # getexif() would decode the whole file to look behind the pixels
    value = image.getexif().get(_ORIENTATION, 1)
    return value if value in _TURN else 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):  # grey with 16 bits, in one of Pillow's ways
        upper = (np.asarray(image).astype(np.int64) >> 8).clip(0, 255)
        return Image.fromarray(upper.astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("its samples are floating point; convert it to 8 or 16 bits")
    if image.mode in ("P", "PA"):
        return image.convert("RGBA").convert("RGB")
    if image.mode == "La":
        return image.convert("LA").convert("RGB")
    return image.convert("RGB")


def _ends_properly(path: Path, kind: str | None) -> bool:
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(12)
        file.seek(max(0, size - _TAIL))
        tail = file.read()
    match kind:
        case "PNG":
            return tail[-8:-4] == b"IEND"
        case "JPEG" | "MPO":
            return b"\xff\xd9" in tail
        case "WEBP":
            return size >= 8 + int.from_bytes(head[4:8], "little")
    return False
