"""Image sets by name: what they hold, what they skip, and a fingerprint of their content.

A name is ``sample`` or ``sample_val``, or a folder of PNG, JPEG and WebP files, at any depth, under
``$HPCM_DATA`` (see ``docs/data.md``). Configs hold names, never paths, so that they mean the same
on every machine; the fingerprint says whether they did.
"""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from hpcm.evaluation.decoding import DAMAGED, SUFFIXES, inspect, read_rgb, reason_of
from hpcm.evaluation.sample_photographs import SAMPLES, sample_files
from hpcm.files import open_file
from hpcm.schema import ConfigError, did_you_mean

T = TypeVar("T")
R = TypeVar("R")

WHOLE_FILES = 1 << 30  # bytes; a larger set is fingerprinted by sizes and the ends of its files
ENDS = 1 << 16  # bytes read at each end then

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_THREADS = 8  # hide the latency of network storage


class SkippedImages(UserWarning):
    """Images of a set that are not used, each with its reason."""


@dataclass(frozen=True)
class SkippedItem:
    """One image that is not used, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class ImageItem:
    """One usable image: name within its set, path, size in pixels as decoded, bytes on disk."""

    name: str
    path: Path
    width: int
    height: int
    bytes: int

    def read(self, box: tuple[int, int, int, int] | None = None) -> NDArray[np.uint8] | SkippedItem:
        """RGB, uint8 (H, W, 3), of the image or its box (left, top, right, bottom); or why not."""
        try:
            return read_rgb(self.path, box)
        except DAMAGED as error:
            return SkippedItem(self.name, reason_of(error))


@dataclass(frozen=True)
class ImageSet:
    """The images of one set in the order of their names."""

    name: str
    items: tuple[ImageItem, ...]
    skipped: tuple[SkippedItem, ...] = ()

    @property
    def count(self) -> int:
        """How many images are usable."""
        return len(self.items)

    @property
    def paths(self) -> tuple[Path, ...]:
        """Where they are."""
        return tuple(item.path for item in self.items)

    @property
    def sizes(self) -> dict[tuple[int, int], int]:
        """(width, height) in pixels: how many images have it, the most frequent first."""
        return dict(Counter((item.width, item.height) for item in self.items).most_common())

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits of a SHA-256 over names and contents, prefixed by how much was read.

        ``sha256:`` read every byte; ``ends-sha256:`` (sets above 1 GiB) the sizes and the first and
        last 64 KiB of each file.
        """
        total = hashlib.sha256()
        for item, digest in zip(self.items, self.digests, strict=True):
            total.update(f"{item.name}\0{item.bytes}\0".encode() + digest)
        return f"{'' if self._whole else 'ends-'}sha256:{total.hexdigest()[:16]}"

    @cached_property
    def digests(self) -> tuple[bytes, ...]:
        """SHA-256 of each image's file, or of its ends: what :attr:`fingerprint` is made of."""
        return tuple(in_threads(lambda item: _digest(item.path, self._whole), self.items))

    @property
    def _whole(self) -> bool:
        return sum(item.bytes for item in self.items) <= WHOLE_FILES

    def at_least(self, side: int) -> ImageSet:
        """The images that hold a square of ``side`` pixels; the others are skipped with a warning.

        Raises :class:`ConfigError` if none is left.
        """
        fits = tuple(item for item in self.items if min(item.width, item.height) >= side)
        small = tuple(
            SkippedItem(item.name, f"{item.width}x{item.height}, smaller than the crop of {side}")
            for item in self.items
            if min(item.width, item.height) < side
        )
        if not fits:
            largest = max(self.items, key=lambda item: min(item.width, item.height))
            raise ConfigError(
                f"image set '{self.name}': none of its {self.count} images holds a crop of "
                f"{side}x{side}; the largest is {largest.name}, {largest.width}x{largest.height}"
            )
        warn_skipped(self.name, small)
        return ImageSet(self.name, fits, self.skipped + small)


def image_set(name: str) -> ImageSet:
    """The set called ``name``. Reads headers only. Unreadable images are skipped with a warning.

    Raises :class:`ConfigError` if the set is not there, holds no image, or none can be read.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"image set {name!r}: a set has a name, not a path; letters, digits and . _ - are "
            "allowed, and the folder is looked for under $HPCM_DATA"
        )
    if name in SAMPLES:
        return _scan(name, sample_files(name), f"the files of '{name}'")
    folder = _folder(name)
    return _scan(name, _image_files(folder), str(folder))


def image_folder(folder: str | Path) -> ImageSet:
    """The images below any folder, as a set named after it. Raises like :func:`image_set`."""
    root = Path(folder)
    if not os.path.isdir(root):
        raise ConfigError(
            f"image folder {root}: {'not a folder' if os.path.exists(root) else 'not found'}"
        )
    return _scan(root.resolve().name, _image_files(root), str(root))


def decode(images: ImageSet) -> tuple[ImageSet, list[NDArray[np.uint8]]]:
    """All pixels of a set, each uint8 (H, W, 3), and the set without what turns out damaged.

    Raises :class:`ConfigError` if nothing can be decoded.
    """
    read = in_threads(lambda item: item.read(), images.items)
    pixels = [found for found in read if isinstance(found, np.ndarray)]
    damaged = tuple(found for found in read if isinstance(found, SkippedItem))
    if not pixels:
        raise ConfigError(none_left(images, damaged[0]))
    warn_skipped(images.name, damaged)
    good = tuple(
        item
        for item, found in zip(images.items, read, strict=True)
        if isinstance(found, np.ndarray)
    )
    return ImageSet(images.name, good, images.skipped + damaged), pixels


def none_left(images: ImageSet, first: SkippedItem) -> str:
    """The message for a set of which no image can be decoded."""
    return (
        f"image set '{images.name}': not one of its {images.count} images can be decoded; "
        f"{first.name}: {first.reason}"
    )


def warn_skipped(name: str, skipped: tuple[SkippedItem, ...]) -> None:
    """One warning for all of ``skipped``: how many, and the first few with their reasons."""
    if not skipped:
        return
    shown = "; ".join(f"{item.name}: {item.reason}" for item in skipped[:5])
    more = f"; and {len(skipped) - 5} more" if len(skipped) > 5 else ""
    noun = "image" if len(skipped) == 1 else "images"
    warnings.warn(
        f"image set '{name}': {len(skipped)} {noun} skipped: {shown}{more}",
        SkippedImages,
        stacklevel=3,
    )


def _folder(name: str) -> Path:
    data = os.environ.get("HPCM_DATA", "")
    offline = f"sets that need no folder: {', '.join(SAMPLES)}"
    if not data:
        raise ConfigError(
            f"image set '{name}': the environment variable HPCM_DATA is not set; it names the "
            f"folder that holds one folder per set (docs/data.md); {offline}"
        )
    root = Path(os.path.expanduser(data))
    if not os.path.isdir(root):
        raise ConfigError(
            f"image set '{name}': HPCM_DATA is {data}, which is not a folder; {offline}"
        )
    folder = root / name
    if not folder.is_dir():
        there = sorted(
            path.name for path in root.iterdir() if path.is_dir() and path.name[0] != "."
        )
        holds = f"holds {', '.join(there[:24])}" if there else "holds no folder"
        raise ConfigError(
            f"image set '{name}': {folder} is not there; $HPCM_DATA ({root}) {holds}"
            f"{did_you_mean(name, [*there, *SAMPLES]).partition('; allowed')[0]}; {offline}"
        )
    return folder


def _files(folder: Path) -> Iterator[Path]:
    """Every file below ``folder``, through links (each folder once), without what is hidden.

    Raises :class:`ConfigError` for a folder that cannot be read: its images would be missed.
    """

    def refuse(error: OSError) -> None:
        raise ConfigError(f"image folder {error.filename}: cannot be read: {error.strerror}")

    seen: set[Path] = set()
    for place, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        real = Path(place).resolve()
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in sorted(files) if not name.startswith("."))


def _image_files(folder: Path) -> list[tuple[str, Path]]:
    """Name within ``folder`` and path of every image. Raises :class:`ConfigError` if none."""
    files = list(_files(folder))
    images = [path for path in files if path.suffix.lower() in SUFFIXES]
    if not images:
        kinds = sorted({path.suffix.lower() or "(no suffix)" for path in files})
        noun = "other file" if len(files) == 1 else "other files"
        holds = f"{len(files)} {noun} ({', '.join(kinds[:6])})" if files else "nothing"
        raise ConfigError(
            f"image folder {folder}: no image; it holds {holds}, and {', '.join(SUFFIXES)} are read"
        )
    return sorted((_printable(path.relative_to(folder)), path) for path in images)


def _printable(path: Path) -> str:
    """The path as text that any stream can show, whatever bytes a file is named with."""
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")


def _scan(name: str, files: list[tuple[str, Path]], where: str) -> ImageSet:
    found = in_threads(lambda entry: _item(*entry), files)
    items = tuple(entry for entry in found if isinstance(entry, ImageItem))
    skipped = tuple(entry for entry in found if isinstance(entry, SkippedItem))
    if not items:
        raise ConfigError(
            f"image set '{name}': none of the {len(files)} images in {where} can be read; "
            f"{skipped[0].name}: {skipped[0].reason}"
        )
    warn_skipped(name, skipped)
    return ImageSet(name, items, skipped)


def _item(name: str, path: Path) -> ImageItem | SkippedItem:
    try:
        width, height = inspect(path)
        return ImageItem(name, path, width, height, path.stat().st_size)
    except DAMAGED as error:
        return SkippedItem(name, reason_of(error))


def _digest(path: Path, whole: bool) -> bytes:
    with open_file(path) as file:
        if whole:
            return hashlib.file_digest(file, "sha256").digest()
        digest = hashlib.sha256(file.read(ENDS))
        file.seek(max(0, path.stat().st_size - ENDS))
        digest.update(file.read(ENDS))
        return digest.digest()


def in_threads(function: Callable[[T], R], entries: Iterable[T]) -> list[R]:
    """``function`` of each entry, in their order; for what waits for storage, or for Pillow."""
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(function, entries))
