"""Frames decoded once: whole or not there, built once, bounded, and refused in one message."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from hpcm import ConfigError
from hpcm.__main__ import main
from hpcm.evaluation import frame_store
from hpcm.evaluation.frame_store import (
    FrameStore,
    FrameStoreNotice,
    cache_folder,
    store_path,
    stored,
)
from hpcm.evaluation.image_sets import ImageSet, SkippedItem, image_set

ROOT = Path(__file__).parents[3]
Folder = Callable[..., Path]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HPCM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def images(image_folder: Folder) -> ImageSet:
    image_folder("waves", count=3, height=40, width=64)
    return image_set("waves")


def same(store: FrameStore, images: ImageSet) -> bool:
    pairs = [(store[item.name], item.read()) for item in images.items]
    return all(np.array_equal(one, other) for one, other in pairs)


def test_frames_are_the_decoded_images_and_cannot_be_written(images: ImageSet) -> None:
    store = stored(images)
    assert same(store, images)
    assert list(store) == [item.name for item in images.items]
    assert not store[images.items[0].name].flags.writeable
    assert {path.name for path in cache_folder().iterdir()} == {"lock", store_path(images).name}


def test_a_store_is_built_once(images: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(images)
    monkeypatch.setattr(frame_store, "_write", lambda *_: pytest.fail("built again"))
    assert same(stored(images), images)


def test_a_set_that_changed_has_another_store(images: ImageSet, image_folder: Folder) -> None:
    stored(images)
    image_folder("waves", count=4, height=40, width=64)
    later = image_set("waves")
    assert store_path(later) != store_path(images)
    assert same(stored(later), later)


def test_a_damaged_image_is_remembered_with_its_reason(images: ImageSet) -> None:
    first, second, _ = images.items
    first.path.write_bytes(b"no image")
    store = stored(images)
    assert store[first.name] == SkippedItem(first.name, "not an image")
    assert np.array_equal(store[second.name], second.read())


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def other_version(content: bytes) -> bytes:
    return content.replace(b'"version": 1', b'"version": 0')


def other_index(content: bytes) -> bytes:
    return content.replace(b'{"version"', b'?"version"')


def fewer_frames(content: bytes) -> bytes:
    return content[100:]


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (cut, "cut short"),
        (fewer_frames, "cut short"),
        (lambda _: b"", "cut short"),
        (other_version, "of version 0, not 1"),
        (other_index, "its index is damaged"),
    ],
)
def test_what_is_torn_or_of_another_version_is_built_anew_and_said_once(
    images: ImageSet, spoil: Callable[[bytes], bytes], why: str
) -> None:
    path = store_path(images)
    stored(images)
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.warns(FrameStoreNotice, match=why) as caught:
        assert same(stored(images), images)
    assert len(caught) == 1
    assert same(stored(images), images)  # a warning would fail this test


def test_what_a_killed_process_left_is_taken_away(images: ImageSet, cache: Path) -> None:
    cache.mkdir()
    left = cache / "ends-sha256-0.frames.partial"
    left.write_bytes(b"half")
    stored(images)
    assert not left.exists()


BUILD = """
import os, sys, time
from hpcm.evaluation import frame_store
from hpcm.evaluation.image_sets import ImageItem, image_set
read = ImageItem.read
def slow(item, box=None):
    os.write(1, b"reading\\n")  # in one piece: several threads read
    time.sleep(float(sys.argv[1]))
    return read(item, box)
ImageItem.read = slow
print("got", len(frame_store.stored(image_set("waves"))), flush=True)
"""


def builder(seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", BUILD, str(seconds)]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_of_two_processes_one_builds_and_a_kill_leaves_the_next_to_build(images: ImageSet) -> None:
    first = builder(60)
    assert first.stdout
    assert first.stdout.readline() == "reading\n"
    second = builder(0)
    assert second.stderr
    assert "another process builds there; waiting" in second.stderr.readline()
    first.kill()
    out, _ = second.communicate(timeout=60)
    first.communicate()
    assert out.count("reading") == 3
    assert out.splitlines()[-1] == "got 3"
    assert same(stored(images), images)


def test_unused_stores_make_room_and_used_ones_do_not(
    images: ImageSet, image_folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = stored(images)
    sets = {}
    for name in ("second", "largest"):
        image_folder(name, count=3, height=40, width=64)
        sets[name] = image_set(name)
    monkeypatch.setenv("HPCM_CACHE_GB", "5.2e-5")  # two stores of 23 kB
    stored(sets["second"])
    os.utime(store_path(images), (0, 0))
    with pytest.warns(FrameStoreNotice, match="taken away"):
        stored(sets["largest"])
    assert [store_path(s).exists() for s in (images, *sets.values())] == [True, False, True]
    assert same(used, images)
    monkeypatch.setenv("HPCM_CACHE_GB", "1e-5")
    with pytest.raises(ConfigError, match=r"take 0\.00 GB, and \$HPCM_CACHE_GB allows 1e-05 for"):
        stored(sets["second"])


def test_a_store_is_in_use_before_others_may_make_room(
    images: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next process that builds wants its room at once."""
    lock = frame_store._build_lock

    @contextlib.contextmanager
    def then_another_builds(folder: Path) -> Iterator[None]:
        with lock(folder):
            yield
        assert frame_store._remove_unused(store_path(images)) == 0

    monkeypatch.setattr(frame_store, "_build_lock", then_another_builds)
    assert same(stored(images), images)


@pytest.mark.parametrize("given", ["0", "-1", "many", "nan"])
def test_a_bound_that_is_none_is_refused(
    images: ImageSet, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv("HPCM_CACHE_GB", given)
    with pytest.raises(ConfigError, match=f"HPCM_CACHE_GB is '{given}'; must be a number"):
        stored(images)


def test_a_folder_that_cannot_be_written_is_one_message(images: ImageSet, cache: Path) -> None:
    cache.write_text("a file")
    with pytest.raises(ConfigError, match=r"data\.cache: disk: .*cache: cannot be written: ") as e:
        stored(images)
    assert "\n" not in str(e.value)
    assert "$HPCM_CACHE name a folder with" in str(e.value)


def test_a_full_disk_is_one_message_and_leaves_nothing(
    images: ImageSet, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = frame_store.shutil.disk_usage
    monkeypatch.setattr(frame_store.shutil, "disk_usage", lambda p: usage(p)._replace(free=100))
    with pytest.raises(ConfigError, match="cannot be written: No space left on device"):
        stored(images)
    assert [path.name for path in cache.iterdir()] == ["lock"]


def test_the_command_shows_builds_and_removes(
    images: ImageSet, capsys: pytest.CaptureFixture[str]
) -> None:
    path = store_path(images)
    messages = []
    for what in ("show", "build", "remove", "show"):
        assert main(["data", "waves", "--cache", what]) == 0
        messages.append(capsys.readouterr().out.splitlines()[-1])
    absent = f"frames not built; 0.000 GB in {path}"
    assert messages == [absent, f"frames {path}  0.000 GB", f"removed {path}", absent]


def test_the_folder_is_the_users_own_unless_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HPCM_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == Path.home() / ".cache" / "hpcm"
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/hpcm")


def test_the_index_says_what_was_decoded(images: ImageSet) -> None:
    stored(images)
    content = store_path(images).read_bytes()
    index = json.loads(content[content.index(b'{"version"') : -16])
    assert index == {
        "version": 1,
        "set": "waves",
        "images": [[item.name, 40, 64] for item in images.items],
    }
