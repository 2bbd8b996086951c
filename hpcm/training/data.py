"""Random crops for training: the same batches for a (seed, epoch), whoever loads them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from hpcm.config import DataConfig
from hpcm.evaluation.image_sets import ImageSet, SkippedItem, none_left, warn_skipped
from hpcm.schema import ConfigError, about
from hpcm.training.seeding import derive


@dataclass(frozen=True)
class CropKey:
    """One crop: its number counted over all epochs, and where it stands in its epoch."""

    position: int
    epoch: int
    index: int


@dataclass(frozen=True)
class Crop:
    """The pixels, uint8 (3, p, p), and the images that had to be passed over to get them.

    ``pixels`` is None if no image of the set can be decoded: an error of a worker process would
    arrive wrapped in its traceback.
    """

    pixels: Tensor | None
    damaged: tuple[SkippedItem, ...] = ()


def crop_images(images: ImageSet, config: DataConfig, stride: int) -> ImageSet:
    """Those of a run's training images that hold a crop; ``stride`` is the model's.

    Raises :class:`ConfigError` for a crop or a batch that cannot be.
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
    return images


class CropLoader:
    """Batches of random crops with random flips, as a pure function of seed and epoch.

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
            _Crops(self.images, config.patch, seed, config.cache),
            batch_sampler=self._keys,
            num_workers=self.workers,
            collate_fn=_collate,
            persistent_workers=self.workers > 0,
            pin_memory=self._device.type == "cuda",
            generator=torch.Generator(),  # else it would draw from the global one
        )

    def batches(self, epoch: int) -> Iterator[Tensor]:
        """The batches of one epoch (any number from 0): float32 (B, 3, p, p) in [0, 1]."""
        self._keys.epoch = epoch
        for pixels, damaged in self._loader:
            new = {item.name: item.reason for item in damaged if item.name not in self.damaged}
            self.damaged |= new
            if pixels is None:
                raise ConfigError(none_left(self.images, damaged[0]))
            warn_skipped(self.images.name, tuple(SkippedItem(*entry) for entry in new.items()))
            yield pixels.to(self._device, non_blocking=True).float() / 255  # (B, 3, p, p)


class _EpochKeys(Sampler[list[CropKey]]):
    """The keys of an epoch, batch by batch."""

    def __init__(self, batch: int, steps: int) -> None:
        self.epoch = 0
        self._batch, self._steps = batch, steps

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[list[CropKey]]:
        first = self.epoch * self._steps * self._batch
        for start in range(0, self._steps * self._batch, self._batch):
            indices = range(start, start + self._batch)
            yield [CropKey(first + index, self.epoch, index) for index in indices]


class _Crops(Dataset[Crop]):
    """From a key to its crop; has no state that matters, so it may live in any process."""

    def __init__(self, images: ImageSet, patch: int, seed: int, cache: bool) -> None:
        self._images, self._patch, self._seed = images, patch, seed
        # Filled before workers start, so that they share it.
        self._decoded = [item.read() for item in images.items] if cache else []
        self._cycle, self._order = -1, np.empty(0, int)  # the order last drawn

    def __getitem__(self, key: CropKey) -> Crop:
        damaged: list[SkippedItem] = []
        for offset in range(self._images.count):
            found = self._crop(self._image_at(key.position, offset), key)
            if isinstance(found, Tensor):
                return Crop(found, tuple(damaged))
            damaged.append(found)
        return Crop(None, tuple(damaged))

    def _image_at(self, position: int, offset: int) -> int:
        """The image for the crop at ``position``; with an offset, a later one in that order."""
        count = self._images.count
        cycle, place = divmod(position, count)
        if cycle != self._cycle:
            draw = np.random.default_rng(derive(self._seed, "order", cycle))
            self._cycle, self._order = cycle, draw.permutation(count)
        return int(self._order[(place + offset) % count])

    def _crop(self, image: int, key: CropKey) -> Tensor | SkippedItem:
        item, side = self._images.items[image], self._patch
        draw = np.random.default_rng(derive(self._seed, "crop", key.epoch, key.index))
        left = int(draw.integers(item.width - side + 1))
        top = int(draw.integers(item.height - side + 1))
        mirror, upend = draw.random(2) < 0.5
        pixels = self._pixels(image, left, top)  # (p, p, 3)
        if isinstance(pixels, SkippedItem):
            return pixels
        pixels = pixels[:, ::-1] if mirror else pixels
        pixels = pixels[::-1] if upend else pixels
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))  # (3, p, p)

    def _pixels(self, image: int, left: int, top: int) -> NDArray[np.uint8] | SkippedItem:
        right, bottom = left + self._patch, top + self._patch
        if not self._decoded:
            return self._images.items[image].read((left, top, right, bottom))
        whole = self._decoded[image]
        return whole if isinstance(whole, SkippedItem) else whole[top:bottom, left:right]


def _collate(crops: list[Crop]) -> tuple[Tensor | None, list[SkippedItem]]:
    found = [crop.pixels for crop in crops if crop.pixels is not None]
    pixels = torch.stack(found) if len(found) == len(crops) else None  # (B, 3, p, p)
    return pixels, [item for crop in crops for item in crop.damaged]


def _cores() -> int:
    """CPU cores this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)  # not on macOS
    return len(allowed(0)) if allowed else os.cpu_count() or 1
