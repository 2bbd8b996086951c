"""Random crops for training: the same batches for a (seed, epoch), whoever loads them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from hpcm import ranks
from hpcm.config import DataConfig
from hpcm.evaluation.frame_store import stored
from hpcm.evaluation.image_sets import ImageItem, ImageSet, SkippedItem, none_left, warn_skipped
from hpcm.schema import ConfigError, about
from hpcm.training.seeding import derive


@dataclass(frozen=True)
class CropKey:
    """One crop: its number counted over all epochs, and where it stands in its epoch."""

    position: int
    epoch: int
    index: int


class Crops(NamedTuple):
    """A batch as it is loaded, and the images that had to be passed over to get it.

    ``pixels`` is None if no image of the set can be decoded: an error of a worker process would
    arrive wrapped in its traceback.
    """

    pixels: Tensor | None  # uint8 (B, p, p, 3), not yet flipped
    flips: Tensor  # bool (2, B): left-right, top-bottom
    damaged: tuple[SkippedItem, ...] = ()

    def on(self, device: torch.device) -> Tensor:
        """The batch, float32 (B, 3, p, p) in [0, 1]; flipped and scaled on ``device``."""
        assert self.pixels is not None
        x = self.pixels.to(device, non_blocking=True).permute(0, 3, 1, 2)  # (B, 3, p, p)
        mirror, upend = self.flips.to(device, non_blocking=True)[..., None, None, None]
        x = torch.where(mirror, x.flip(3), x)
        x = torch.where(upend, x.flip(2), x)
        return x.to(torch.float32, memory_format=torch.contiguous_format).div_(255)


def crop_images(images: ImageSet, config: DataConfig, stride: int) -> ImageSet:
    """Those of a run's training images that hold a crop; ``stride`` is the model's.

    Raises :class:`ConfigError` for a crop or a batch that is not possible.
    """
    if config.patch % stride:
        raise ConfigError(
            f"data.patch: {config.patch}: must be a multiple of the model's stride, {stride}"
        )
    with about("data.train"):
        images = images.at_least(config.patch)
    if (config.crops_per_epoch or images.count) < config.batch_size:
        raise ConfigError(
            f"data.batch_size: {config.batch_size}: image set '{config.train}' has "
            f"{images.count} images to train on, fewer than one batch; set data.crops_per_epoch"
        )
    if config.batch_size % ranks.count():
        raise ConfigError(
            f"data.batch_size: {config.batch_size}: this run has {ranks.count()} processes, and "
            f"each takes an equal part of a batch; must be a multiple of {ranks.count()}"
        )
    return images


class CropLoader:
    """Batches of random crops with random flips, as a pure function of seed and epoch.

    Of several processes each loads its part of every batch, in the order of their ranks.

    Images are taken in a fresh random order each time all have been taken; an epoch goes on in that
    order where the last one stopped, so every image is seen equally often whatever the size of a
    batch or an epoch. What does not fill a batch is left to the next epoch. Worker processes (at
    most one per CPU core) change nothing but speed. An image that turns out damaged while training
    is replaced by the next in order, with one warning, and counted in ``damaged``.

    Raises what :func:`crop_images` raises.
    """

    def __init__(
        self,
        images: ImageSet,
        config: DataConfig,
        stride: int,
        seed: int,
        device: torch.device | None = None,
    ) -> None:
        self.images = crop_images(images, config, stride)
        crops = config.crops_per_epoch or self.images.count
        self.steps_per_epoch = crops // config.batch_size
        self.damaged: dict[str, str] = {}  # image name: reason, as found while training
        self.workers = min(config.workers, _cores())
        self._device = device or torch.device("cpu")
        self._keys = _EpochKeys(config.batch_size, self.steps_per_epoch)
        self._loader = DataLoader(
            _Batches(self.images, config.patch, seed, _frames(images, config.cache)),
            sampler=self._keys,
            batch_size=None,  # an item is a batch
            num_workers=self.workers,
            collate_fn=_as_it_is,
            persistent_workers=self.workers > 0,
            pin_memory=self._device.type == "cuda",
            generator=torch.Generator(),  # else it would draw from the global one
        )

    def batches(self, epoch: int) -> Iterator[Tensor]:
        """Of each batch of an epoch (any number from 0) this rank's part.

        Float32 (b, 3, p, p) in [0, 1], b the batch size over the number of processes.
        """
        for crops in self.loaded(epoch):
            found = {item.name: item.reason for item in crops.damaged}
            new = {name: why for name, why in found.items() if name not in self.damaged}
            self.damaged |= new
            if crops.pixels is None:
                raise ConfigError(none_left(self.images, crops.damaged[0]))
            warn_skipped(self.images.name, tuple(SkippedItem(*entry) for entry in new.items()))
            yield crops.on(self._device)

    def loaded(self, epoch: int) -> Iterator[Crops]:
        """The same as bytes that are on no device yet; no warning of damaged images."""
        self._keys.epoch = epoch
        return iter(self._loader)


class _EpochKeys(Sampler[list[CropKey]]):
    """The keys of an epoch, batch by batch; of each batch those of this rank."""

    def __init__(self, batch: int, steps: int) -> None:
        self.epoch = 0
        self._batch, self._steps = batch, steps

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[list[CropKey]]:
        first, part = self.epoch * self._steps * self._batch, self._batch // ranks.count()
        for start in range(ranks.own() * part, self._steps * self._batch, self._batch):
            indices = range(start, start + part)
            yield [CropKey(first + index, self.epoch, index) for index in indices]


Frames = Mapping[str, NDArray[np.uint8] | SkippedItem]


def _frames(images: ImageSet, cache: str) -> Frames | None:
    """All decoded images by name, as ``data.cache`` says; None if files are read as they come."""
    if cache == "memory":  # filled before workers start, so that they share it
        return {item.name: item.read() for item in images.items}
    return stored(images) if cache == "disk" else None


class _Batches(Dataset[Crops]):
    """From keys to their crops; has no state that matters, so it may live in any process."""

    def __init__(self, images: ImageSet, patch: int, seed: int, frames: Frames | None) -> None:
        self._images, self._patch, self._seed, self._frames = images, patch, seed, frames
        self._cycle, self._order = -1, np.empty(0, int)  # the order last drawn

    def __getitem__(self, keys: list[CropKey]) -> Crops:
        pixels = torch.empty(len(keys), self._patch, self._patch, 3, dtype=torch.uint8)
        flips = torch.empty(2, len(keys), dtype=torch.bool)
        damaged: list[SkippedItem] = []
        for key, out, flip in zip(keys, pixels.numpy(), flips.numpy().T, strict=True):
            if not self._load(key, out, flip, damaged):
                return Crops(None, flips, tuple(damaged))
        return Crops(pixels, flips, tuple(damaged))

    def _load(
        self,
        key: CropKey,
        out: NDArray[np.uint8],
        flips: NDArray[np.bool_],
        damaged: list[SkippedItem],
    ) -> bool:
        """Write a crop to ``out`` (p, p, 3) and ``flips`` (2,); False if no image can be decoded.

        Images that are passed over are added to ``damaged``.
        """
        for offset in range(self._images.count):
            item = self._images.items[self._image_at(key.position, offset)]
            draw = np.random.default_rng(derive(self._seed, "crop", key.epoch, key.index))
            left = int(draw.integers(item.width - self._patch + 1))
            top = int(draw.integers(item.height - self._patch + 1))
            np.less(draw.random(2), 0.5, out=flips)
            pixels = self._pixels(item, left, top)
            if not isinstance(pixels, SkippedItem):
                out[:] = pixels
                return True
            damaged.append(pixels)
        return False

    def _image_at(self, position: int, offset: int) -> int:
        """The image for the crop at ``position``; with an offset, a later one in that order."""
        count = self._images.count
        cycle, place = divmod(position, count)
        if cycle != self._cycle:
            draw = np.random.default_rng(derive(self._seed, "order", cycle))
            self._cycle, self._order = cycle, draw.permutation(count)
        return int(self._order[(place + offset) % count])

    def _pixels(self, item: ImageItem, left: int, top: int) -> NDArray[np.uint8] | SkippedItem:
        """The window (p, p, 3) of an image."""
        right, bottom = left + self._patch, top + self._patch
        if self._frames is None:
            return item.read((left, top, right, bottom))
        whole = self._frames[item.name]
        return whole if isinstance(whole, SkippedItem) else whole[top:bottom, left:right]


def _as_it_is(crops: Any) -> Any:
    return crops


def _cores() -> int:
    """CPU cores this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)  # not on macOS
    return len(allowed(0)) if allowed else os.cpu_count() or 1
