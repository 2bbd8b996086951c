"""``data NAME``: what an image set holds, before anything is trained on it."""

from __future__ import annotations

import argparse

from hpcm.commands.arguments import images_at

SHOWN = 8  # sizes and skipped images listed


def run(arguments: argparse.Namespace) -> int:
    """Print the set; see the module."""
    images = images_at(arguments.name)
    pixels = sum(item.width * item.height for item in images.items)
    least = min(min(size) for size in images.sizes)
    print(f"{images.name}: {images.count} images, {pixels / 1e6:.1f} Mpixel, least side {least}")
    for (width, height), count in list(images.sizes.items())[:SHOWN]:
        print(f"  {width}x{height}  {count}")
    _more(len(images.sizes), "sizes")
    print(f"fingerprint {images.fingerprint}")
    print(f"skipped {len(images.skipped)}")
    for item in images.skipped[:SHOWN]:
        print(f"  {item.name}: {item.reason}")
    _more(len(images.skipped), "skipped")
    return 0


def _more(count: int, what: str) -> None:
    if count > SHOWN:
        print(f"  and {count - SHOWN} more {what}")
