"""`data.holdout`: images leave the training set for validation, chosen by what they hold."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hpcm import ConfigError, TrainConfig, train
from hpcm.config import DataConfig
from hpcm.evaluation import image_sets
from hpcm.evaluation.run_images import run_images
from tests.toy_codec import ToyCodec


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Seven images of noise, 64x64."""
    monkeypatch.setenv("HPCM_DATA", str(tmp_path))
    draw = np.random.default_rng(0)
    (tmp_path / "noise").mkdir()
    for number in range(7):
        pixels = draw.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "noise" / f"{number}.png")
    return tmp_path / "noise"


def held(count: int, name: str = "noise") -> tuple[list[str], list[str]]:
    images = run_images(DataConfig(train=name, val=None, holdout=count))
    return [i.name for i in images.train.items], [i.name for i in images.val.items]


def test_the_smallest_digests_are_held_out(folder: Path) -> None:
    files = sorted(folder.iterdir(), key=lambda f: hashlib.sha256(f.read_bytes()).digest())
    left, out = held(3)
    assert out == sorted(file.name for file in files[:3])
    assert left == sorted(file.name for file in files[3:])


def test_a_longer_holdout_holds_a_shorter_one(folder: Path) -> None:
    chosen = [set(held(count)[1]) for count in range(1, 7)]
    assert [len(names) for names in chosen] == [1, 2, 3, 4, 5, 6]
    assert all(short < long for short, long in zip(chosen, chosen[1:], strict=False))


def test_names_and_order_have_no_say(folder: Path) -> None:
    renamed = folder.with_name("renamed")
    renamed.mkdir()
    for index, file in enumerate(sorted(folder.iterdir(), reverse=True)):
        shutil.copy(file, renamed / f"{index}.png")
    contents = [{(d / name).read_bytes() for name in held(2, d.name)[1]} for d in (folder, renamed)]
    assert contents[0] == contents[1]


def test_a_copy_of_a_held_out_image_is_not_trained_on(folder: Path) -> None:
    _, (first,) = held(1)
    shutil.copy(folder / first, folder / "copy.png")
    left, out = held(1)
    assert len(out) == 1
    assert not {first, "copy.png"} & set(left)


def test_the_same_images_of_a_set_of_which_only_ends_are_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_sets, "WHOLE_FILES", 1)
    monkeypatch.setattr(image_sets, "ENDS", 64)

    def ends(file: Path) -> bytes:
        content = file.read_bytes()
        return hashlib.sha256(content[:64] + content[-64:]).digest()

    files = sorted(folder.iterdir(), key=ends)
    assert held(2)[1] == sorted(file.name for file in files[:2])


def test_each_file_is_read_once_for_holdout_and_fingerprint(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Path] = []
    plain = image_sets._digest
    monkeypatch.setattr(image_sets, "_digest", lambda p, w: seen.append(p) or plain(p, w))
    images = image_sets.image_set("noise")
    assert images.fingerprint
    assert len(images.digests) == len(seen) == 7


def test_a_run_trains_on_the_others_and_is_validated_on_them(folder: Path) -> None:
    """Left alone, its images give the same training as a set without the held-out ones."""
    _, out = held(2)
    for name in ("rest", "out"):
        folder.with_name(name).mkdir()
    for file in folder.iterdir():
        shutil.copy(file, folder.with_name("out" if file.name in out else "rest") / file.name)
    sections = {"patch": 64, "batch_size": 2, "workers": 0}
    scores = []
    for data in (
        {"train": "noise", "val": None, "holdout": 2},
        {"train": "rest", "val": "out"},
    ):
        plain = {"data": {**data, **sections}, "epochs": 2, "schedule_horizon": 2}
        cfg = TrainConfig.from_plain(plain, "test")
        torch.manual_seed(1)
        *_, report = train(cfg, model=ToyCodec(), device="cpu")
        scores.append({k: v for k, v in report.metrics.items() if k != "train/seconds"})
    assert scores[0] == scores[1]


@pytest.mark.parametrize("count", [7, 8, 1000])
def test_a_holdout_that_leaves_nothing_is_refused(folder: Path, count: int) -> None:
    with pytest.raises(
        ConfigError, match=f"^data.holdout: {count}: image set 'noise' has 7 images"
    ):
        held(count)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"holdout": 4},
            "val is 'kodak' and holdout is 4; a run is validated on one",
        ),
        ({"val": None}, "test: data: .*val is null; name a set, or hold images of train out"),
        ({"val": None, "holdout": 0}, "holdout is 0; must be 1 or more"),
        ({"val": None, "holdout": 1.5}, "data.holdout: 1.5"),
    ],
)
def test_what_cannot_be_is_refused(data: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainConfig.from_plain({"data": data}, "test")


def test_it_is_in_the_digest_and_digests_from_before_stay() -> None:
    plain = {"data": {"val": None, "holdout": 3}}
    cfg = TrainConfig.from_plain(plain, "test")
    other = TrainConfig.from_plain({"data": {"val": None, "holdout": 4}}, "test")
    assert len({cfg.digest, other.digest, TrainConfig().digest}) == 3
    assert TrainConfig().digest == "42c1de338e9f"
    assert TrainConfig.from_plain(cfg.to_plain(), "again") == cfg
