"""Crops: pure functions of (seed, epoch), each image equally often, damage passed over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hpcm import ConfigError, TrainConfig
from hpcm.config import DataConfig
from hpcm.evaluation.image_sets import SkippedImages, image_set
from hpcm.training.data import CropLoader
from hpcm.training.seeding import derive

SIDE = 8


@pytest.fixture
def numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Five images whose red is their number, green and blue a pixel's column and row."""
    folder = tmp_path / "numbered"
    folder.mkdir()
    monkeypatch.setenv("HPCM_DATA", str(tmp_path))
    row, column = np.mgrid[0:12, 0:16]
    for number in range(5):
        pixels = np.stack([np.full_like(row, number), column, row], axis=-1).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def loader(seed: int = 0, **changes: object) -> CropLoader:
    config = {"train": "numbered", "patch": SIDE, "batch_size": 2, "workers": 0, **changes}
    data = DataConfig(**config)
    return CropLoader(image_set(data.train), data, stride=4, seed=seed)


def epochs(crops: CropLoader, count: int) -> list[torch.Tensor]:
    return [torch.stack(list(crops.batches(epoch))) for epoch in range(count)]


def values(batch: torch.Tensor) -> np.ndarray:
    """What was stored in the files, (N, 3, p, p)."""
    return (batch.reshape(-1, *batch.shape[-3:]) * 255).round().int().numpy()


def drawn(crops: CropLoader, count: int) -> Iterator[int]:
    """The images in the order in which their crops come."""
    for epoch in epochs(crops, count):
        yield from (int(crop[0, 0, 0]) for crop in values(epoch))


def test_batches_are_windows_of_the_images(numbered: Path) -> None:
    crops = loader(crops_per_epoch=200, batch_size=100)
    batches = list(crops.batches(0))
    assert len(batches) == crops.steps_per_epoch == 2
    assert batches[0].shape == (100, 3, SIDE, SIDE)
    assert batches[0].dtype == torch.float32
    found = values(torch.stack(batches))
    flips, corners = Counter(), Counter()
    for red, green, blue in found:
        assert (red == red[0, 0]).all()
        right, down = int(green[0, 1] - green[0, 0]), int(blue[1, 0] - blue[0, 0])
        assert (np.diff(green, axis=1) == right).all()
        assert (np.diff(blue, axis=0) == down).all()
        assert {abs(right), abs(down)} == {1}
        flips[right, down] += 1
        corners[int(green.min()), int(blue.min())] += 1
    assert len(flips) == 4
    assert min(flips.values()) > 30
    assert len(corners) == 9 * 5  # every position of the window


def test_the_same_for_a_seed_and_epoch_and_other_for_others(numbered: Path) -> None:
    first = epochs(loader(), 3)
    later = loader()
    torch.testing.assert_close(torch.stack(list(later.batches(2))), first[2], rtol=0, atol=0)
    torch.testing.assert_close(torch.stack(list(later.batches(0))), first[0], rtol=0, atol=0)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(epochs(loader(seed=1), 1)[0], first[0])


@pytest.mark.parametrize(
    "changes",
    [
        {"workers": 1},
        {"workers": 2},
        {"cache": "memory"},
        {"cache": "disk"},
        {"cache": "disk", "workers": 2},
    ],
)
def test_how_it_is_loaded_changes_nothing(
    numbered: Path, changes: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpcm.training.data._cores", lambda: 2)
    monkeypatch.setenv("HPCM_CACHE", str(numbered.parent / "cache"))
    plain, other = epochs(loader(), 3), epochs(loader(**changes), 3)
    for one, two in zip(plain, other, strict=True):
        assert torch.equal(one, two)


def test_a_batch_is_windows_flipped_and_divided_by_255_to_the_bit(numbered: Path) -> None:
    """Said once more, crop by crop, in NumPy: windows and flips are draws of seed and position."""
    crops = loader(crops_per_epoch=20, batch_size=20, seed=3)
    for index, crop in enumerate(next(crops.batches(2))):
        if index % 5 == 0:  # a round; two epochs of 20 crops were eight of them
            order = np.random.default_rng(derive(3, "order", 8 + index // 5)).permutation(5)
        frame = image_set("numbered").items[order[index % 5]].read()
        draw = np.random.default_rng(derive(3, "crop", 2, index))
        left, top = draw.integers(16 - SIDE + 1), draw.integers(12 - SIDE + 1)
        mirror, upend = draw.random(2) < 0.5
        pixels = frame[top : top + SIDE, left : left + SIDE]
        pixels = pixels[:: -1 if upend else 1, :: -1 if mirror else 1]
        expected = pixels.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
        assert np.array_equal(crop.numpy(), expected)


def test_crops_are_bytes_until_they_are_on_the_device(numbered: Path) -> None:
    crops = loader()
    loaded = next(crops.loaded(0))
    assert loaded.pixels.dtype == torch.uint8
    assert loaded.on(torch.device("meta")).is_meta
    batch = loaded.on(torch.device("cpu"))
    assert batch.dtype == torch.float32
    assert batch.is_contiguous()


@pytest.mark.parametrize(
    ("written", "means"), [(True, "memory"), (False, "none"), ("disk", "disk"), ("none", "none")]
)
def test_a_cache_was_a_switch_once(written: object, means: str) -> None:
    cfg = TrainConfig.from_plain({"data": {"cache": written}}, "test")
    assert cfg.data.cache == means
    assert cfg.digest == TrainConfig().digest


def test_another_cache_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"data\.cache: 'ram' is unknown; allowed: disk, memory"):
        TrainConfig.from_plain({"data": {"cache": "ram"}}, "test")


def test_no_more_workers_than_cores(numbered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpcm.training.data._cores", lambda: 1)
    assert loader(workers=4).workers == 1


def test_the_global_generators_are_left_alone(numbered: Path) -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    epochs(loader(workers=1), 2)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()


@pytest.mark.parametrize("crops_per_epoch", [None, 2, 7, 12])
def test_every_image_is_seen_equally_often(numbered: Path, crops_per_epoch: int | None) -> None:
    crops = loader(crops_per_epoch=crops_per_epoch)
    assert crops.steps_per_epoch == (crops_per_epoch or 5) // 2
    order = list(drawn(crops, 10))
    assert len(order) == 10 * 2 * crops.steps_per_epoch
    rounds = [order[start : start + 5] for start in range(0, len(order), 5)]
    assert all(sorted(images) == [0, 1, 2, 3, 4] for images in rounds if len(images) == 5)
    assert len({tuple(images) for images in rounds}) > 1  # each round in its own order


@pytest.mark.parametrize("workers", [0, 1])
def test_damage_found_while_training_is_named_once_and_passed_over(
    numbered: Path, workers: int
) -> None:
    crops = loader(crops_per_epoch=10, workers=workers)
    (numbered / "3.png").write_bytes(b"")
    with pytest.warns(SkippedImages, match=r"'numbered': 1 image skipped: 3\.png") as caught:
        order = list(drawn(crops, 2))
    assert [warning.category for warning in caught].count(SkippedImages) == 1
    assert list(crops.damaged) == ["3.png"]
    assert 3 not in order
    assert len(order) == 20


@pytest.mark.parametrize("workers", [0, 1])
def test_a_set_that_vanishes_ends_in_one_message(numbered: Path, workers: int) -> None:
    crops = loader(workers=workers)
    for path in numbered.iterdir():
        path.write_bytes(b"")
    with pytest.raises(ConfigError, match="not one of its 5 images can be decoded") as error:
        epochs(crops, 1)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patch": 10}, r"data\.patch: 10: must be a multiple of the model's stride, 4"),
        ({"patch": 16}, "none of its 5 images holds a crop of 16x16"),
        ({"batch_size": 6}, r"data\.batch_size: 6: .* has 5 images.*set data\.crops_per_epoch"),
        ({"train": "letters"}, "letters is not there"),
    ],
)
def test_what_cannot_be_is_refused(numbered: Path, changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        loader(**changes)
