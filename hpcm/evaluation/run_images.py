"""The images of a run: what it trains on and what it is validated on, never the same ones.

With ``data.holdout`` both come from the training set. Which images are held out depends only on
their contents, whatever their names, their order and the seed are, and a longer holdout holds a
shorter one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hpcm.evaluation.image_sets import ImageSet, image_set
from hpcm.schema import ConfigError, about

if TYPE_CHECKING:
    from hpcm.config import DataConfig


@dataclass(frozen=True)
class RunImages:
    """Two sets of images."""

    train: ImageSet
    val: ImageSet


def run_images(data: DataConfig) -> RunImages:
    """Find the images of a run. Raises :class:`ConfigError` naming the field that cannot be."""
    with about("data.train"):
        known = image_set(data.train)
    if data.holdout is not None:
        with about("data.holdout"):
            return hold_out(known, data.holdout)
    assert data.val is not None  # the config has seen to it
    with about("data.val"):
        return RunImages(known, image_set(data.val))


def hold_out(images: ImageSet, count: int) -> RunImages:
    """Validate on the ``count`` images with the smallest digests, train on the others.

    Copies of a held-out image are trained on neither. Raises :class:`ConfigError` if nothing is
    left to train on.
    """
    known = sorted(zip(images.digests, images.items, strict=True), key=lambda e: (e[0], e[1].name))
    held = {digest for digest, _ in known[:count]}
    left = tuple(
        item
        for item, digest in zip(images.items, images.digests, strict=True)
        if digest not in held
    )
    if not left:
        noun = "image" if images.count == 1 else "images"
        raise ConfigError(
            f"{count}: image set '{images.name}' has {images.count} {noun}; some must be left to "
            "train on"
        )
    chosen = tuple(sorted((item for _, item in known[:count]), key=lambda item: item.name))
    return RunImages(
        ImageSet(images.name, left, images.skipped),
        ImageSet(f"{images.name}-holdout-{count}", chosen),
    )
