"""Image sets: what is found, what is skipped and said, and what is refused with which words."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hpcm import ConfigError
from hpcm.evaluation import image_sets
from hpcm.evaluation.decoding import read_rgb
from hpcm.evaluation.image_sets import SkippedImages, decode, image_folder, image_set
from tests.conftest import synthetic_image

Folder = Callable[..., Path]


def save(path: Path, height: int = 32, width: int = 48, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(synthetic_image(height, width, seed)).save(path)


def test_the_two_sample_sets_share_no_scene() -> None:
    train, val = image_set("sample"), image_set("sample_val")
    assert train.count == 5
    assert val.count == 2
    assert not set(train.paths) & set(val.paths)
    stereo = [name.startswith("motorcycle") for name in (item.name for item in train.items)]
    assert sum(stereo) == 2
    assert min(min(size) for size in (*train.sizes, *val.sizes)) >= 256
    for item in (*train.items, *val.items):
        pixels = read_rgb(item.path).astype(float)
        assert pixels.shape == (item.height, item.width, 3)
        assert pixels.std() > 20, "a photograph has contrast"
        assert np.abs(pixels[..., 0] - pixels[..., 2]).mean() > 5, "and colour"


def test_finding_the_samples_imports_nothing_heavy() -> None:
    before = set(sys.modules)
    image_set("sample")
    assert not {"skimage", "sklearn"} & (set(sys.modules) - before)


def test_samples_without_their_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpcm.evaluation.sample_photographs.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="come with scikit-image, which is not installed"):
        image_set("sample")


def test_a_tree_is_read_at_any_depth_in_order(image_folder: Folder) -> None:
    root = image_folder("tree", count=0)
    for name in ("b/2.JPG", "b/10.png", "a.webp", "b/c/d/1.jpeg", ".hidden/x.png", "b/.y.png"):
        save(root / name)
    (root / "notes.txt").write_text("no image")
    save(root.parent / "elsewhere" / "linked.png", height=20)
    (root / "z").symlink_to(root.parent / "elsewhere")
    (root / "z2").symlink_to(root)  # a loop
    found = image_set("tree")
    names = [item.name for item in found.items]
    assert names == ["a.webp", "b/10.png", "b/2.JPG", "b/c/d/1.jpeg", "z/linked.png"]
    assert found.sizes == {(48, 32): 4, (48, 20): 1}
    assert found.skipped == ()


def test_unreadable_images_are_named_counted_and_left_out(image_folder: Folder) -> None:
    root = image_folder("mixed", count=3)
    whole = (root / "001.png").read_bytes()
    (root / "001.png").write_bytes(whole[: len(whole) // 2])
    (root / "text.jpg").write_text("not a picture")
    with pytest.warns(SkippedImages, match=r"'mixed': 2 images skipped: 001\.png: .*; text\.jpg: "):
        found = image_set("mixed")
    assert [item.name for item in found.items] == ["000.png", "002.png"]
    assert {item.name: item.reason for item in found.skipped}["text.jpg"] == "not an image"


def test_images_below_the_crop_are_skipped_and_refused_where_none_is_left(
    image_folder: Folder,
) -> None:
    root = image_folder("sizes", count=1, height=64, width=64)
    save(root / "flat.png", height=31, width=200)
    with pytest.warns(SkippedImages, match=r"flat\.png: 200x31, smaller than the crop of 32"):
        assert image_set("sizes").at_least(32).count == 1
    with pytest.raises(ConfigError, match=r"none of its 2 images holds a crop of 65x65.*000\.png"):
        image_set("sizes").at_least(65)


def test_a_pipe_is_not_waited_for(image_folder: Folder) -> None:
    os.mkfifo(image_folder("pipes", count=1) / "pipe.png")
    with pytest.warns(SkippedImages, match=r"pipe\.png: a pipe, not a file"):
        assert image_set("pipes").count == 1


def test_a_link_to_nothing_is_skipped_in_few_words(image_folder: Folder) -> None:
    (image_folder("links", count=1) / "gone.png").symlink_to("/nowhere.png")
    with pytest.warns(SkippedImages, match=r"skipped: gone\.png: No such file or directory$"):
        assert image_set("links").count == 1


def test_a_name_that_is_no_text_can_be_shown_and_fingerprinted(image_folder: Folder) -> None:
    root = image_folder("bytes", count=1)
    (root / "000.png").rename(os.fsdecode(os.fsencode(root) + b"/\xff.png"))
    found = image_set("bytes")
    assert [item.name for item in found.items] == ["\\xff.png"]
    assert found.fingerprint.startswith("sha256:")
    assert isinstance(found.items[0].read(), np.ndarray)


def test_a_folder_that_cannot_be_read_is_not_passed_over(
    image_folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    (image_folder("closed", count=1) / "inner").mkdir()
    scandir = os.scandir

    def refusing(path: str) -> Iterator[os.DirEntry]:
        if str(path).endswith("inner"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr("os.scandir", refusing)
    with pytest.raises(ConfigError, match=r"closed/inner: cannot be read: Permission denied"):
        image_set("closed")


REFUSED = {
    "a" * 300: r"a set has a name, not a path",
    "../kodak": r"a set has a name, not a path",
    "a/b": r"a set has a name, not a path",
    "": r"a set has a name, not a path",
    ".": r"a set has a name, not a path",
    "kodk": r"data/kodk is not there; \$HPCM_DATA \(.*\) holds kodak, text, torn\. Did you mean "
    r"'kodak'\?; sets that need no folder: sample, sample_val",
    "text": r"no image; it holds 1 other file \(\.txt\), and \.png, .* are read",
    "torn": r"none of the 1 images in .*torn can be read; 0\.png: not an image",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_says_where_it_looked(name: str, image_folder: Folder) -> None:
    image_folder("kodak", count=1)
    (image_folder("text", count=0) / "a.txt").write_text("")
    (image_folder("torn", count=0) / "0.png").write_text("")
    with pytest.raises(ConfigError, match=REFUSED[name]) as error:
        image_set(name)
    assert "\n" not in str(error.value)


def test_an_unset_or_wrong_hpcm_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HPCM_DATA", raising=False)
    with pytest.raises(ConfigError, match="HPCM_DATA is not set"):
        image_set("kodak")
    monkeypatch.setenv("HPCM_DATA", str(tmp_path / "gone"))
    with pytest.raises(ConfigError, match="gone, which is not a folder"):
        image_set("kodak")
    (tmp_path / "gone").mkdir()
    with pytest.raises(ConfigError, match="holds no folder"):
        image_set("kodak")


def test_any_folder_is_a_set_for_evaluation(tmp_path: Path) -> None:
    save(tmp_path / "mine" / "0.png")
    assert image_folder(tmp_path / "mine").name == "mine"
    with pytest.raises(ConfigError, match="not found"):
        image_folder(tmp_path / "gone")
    with pytest.raises(ConfigError, match="not a folder"):
        image_folder(tmp_path / "mine" / "0.png")
    with pytest.raises(ConfigError, match="not found"):
        image_folder("a" * 300)


@pytest.mark.parametrize("whole", [True, False])
def test_the_fingerprint_follows_content_and_names_and_nothing_else(
    whole: bool, image_folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not whole:
        monkeypatch.setattr(image_sets, "WHOLE_FILES", 0)
    root = image_folder("prints", count=2)
    first = image_set("prints").fingerprint
    assert first.startswith("sha256:" if whole else "ends-sha256:")
    os.utime(root / "000.png", (0, 0))
    root.rename(root.with_name("moved"))
    assert image_set("moved").fingerprint == first
    save(root.with_name("moved") / "000.png", seed=9)
    changed = image_set("moved").fingerprint
    assert changed != first
    (root.with_name("moved") / "000.png").rename(root.with_name("moved") / "0.png")
    assert image_set("moved").fingerprint not in (first, changed)


def test_decoding_drops_what_only_decoding_shows_to_be_damaged(image_folder: Folder) -> None:
    root = image_folder("late", count=2)
    found = image_set("late")
    (root / "000.png").write_bytes(b"")
    with pytest.warns(SkippedImages, match=r"1 image skipped: 000\.png"):
        left, pixels = decode(found)
    assert [item.name for item in left.items] == ["001.png"]
    assert len(pixels) == 1
    (root / "001.png").write_bytes(b"")
    with pytest.raises(ConfigError, match="not one of its 2 images can be decoded"):
        decode(found)
