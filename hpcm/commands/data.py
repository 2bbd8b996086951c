"""``data NAME``: what an image set holds, before anything is trained on it; its decoded frames."""

from __future__ import annotations

import argparse

from hpcm.commands.arguments import images_at
from hpcm.evaluation.frame_store import bytes_needed, remove, store_path, stored
from hpcm.evaluation.image_sets import ImageSet

SHOWN = 8  # sizes and skipped images listed


def run(arguments: argparse.Namespace) -> int:
    """Print the set; see the module."""
    images = images_at(arguments.name)
    pixels = sum(item.width * item.height for item in images.items)
    least = min(min(size) for size in images.sizes)
    print(f"{images.name}: {images.count} images, {pixels / 1e6:.1f} Mpixel")
    print(f"shortest side of all {least} pixels")
    for (width, height), count in list(images.sizes.items())[:SHOWN]:
        print(f"  {width}x{height}  {count}")
    _more(len(images.sizes), "sizes")
    print(f"fingerprint {images.fingerprint} (of names and contents)")
    print(f"skipped {len(images.skipped)}")
    for item in images.skipped[:SHOWN]:
        print(f"  {item.name}: {item.reason}")
    _more(len(images.skipped), "skipped")
    if arguments.cache is not None:
        _cache(images, arguments.cache)
    return 0


def _cache(images: ImageSet, what: str) -> None:
    """Say whether the frames of ``data.cache: disk`` are there; build or remove them first."""
    if what == "build":
        stored(images)
    if what == "remove" and remove(images):
        print(f"removed {store_path(images)}")
        return
    path = store_path(images)
    if path.exists():
        print(f"frames {path}  {path.stat().st_size / 1e9:.3f} GB")
    else:
        print(f"frames not built; {bytes_needed(images) / 1e9:.3f} GB in {path}")


def _more(count: int, what: str) -> None:
    if count > SHOWN:
        print(f"  and {count - SHOWN} more {what}")
