"""The images of a set decoded once for all runs of a machine: one memory-mapped file of frames.

Stores lie in ``$HPCM_CACHE`` (default ``~/.cache/hpcm``), each named after the fingerprint of its
set: a set that changed has another store. A file holds the frames, uint8 RGB one after another,
then an index in JSON, then the index's length and a mark. It is written under another name and
renamed, so a kill leaves no store, or a whole one.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import mmap
import os
import shutil
import struct
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hpcm.atomic_files import replacing
from hpcm.evaluation.image_sets import ImageSet, SkippedItem, in_threads
from hpcm.files import open_file
from hpcm.schema import ConfigError

VERSION = 1
MARK = b"hpcm-end"  # the last bytes of a whole store
MOST = 200.0  # GB of all stores together, unless $HPCM_CACHE_GB says otherwise
AT_ONCE = 32  # images decoded before they are written

_END = struct.Struct("<Q8s")  # length of the index, the mark


class FrameStoreNotice(UserWarning):
    """A store is waited for, built anew or removed; the message says why."""


class UnusableStoreError(ValueError):
    """A file that is no whole store of this version; the message says why."""


class FrameStore(Mapping[str, NDArray[np.uint8] | SkippedItem]):
    """Each image's pixels by its name: uint8 (H, W, 3), not writable; or why it is not there.

    Raises OSError, and :class:`UnusableStoreError` for what is torn or of another version. The file
    is locked as long as it is used, so that nobody removes it to make room.
    """

    def __init__(self, path: Path) -> None:
        with open_file(path) as file:
            fcntl.flock(file, fcntl.LOCK_SH)  # the map has a handle of its own, which keeps it
            size = os.fstat(file.fileno()).st_size
            if size < _END.size:
                raise UnusableStoreError("cut short")
            held = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
        self._pixels = np.frombuffer(held, np.uint8)
        self._frames = _places(held)

    def __getitem__(self, name: str) -> NDArray[np.uint8] | SkippedItem:
        found = self._frames[name]
        if isinstance(found, str):
            return SkippedItem(name, found)
        first, height, width = found
        return self._pixels[first : first + 3 * height * width].reshape(height, width, 3)

    def __iter__(self) -> Iterator[str]:
        return iter(self._frames)

    def __len__(self) -> int:
        return len(self._frames)


def _places(held: mmap.mmap) -> dict[str, tuple[int, int, int] | str]:
    """For each image's name: first byte, height and width of its frame; or why it has none.

    Raises :class:`UnusableStoreError`.
    """
    length, mark = _END.unpack_from(held, len(held) - _END.size)
    stop = len(held) - _END.size - length
    if mark != MARK or stop < 0:
        raise UnusableStoreError("cut short")
    try:
        index = json.loads(held[stop : stop + length])
        version, images = index["version"], index["images"]
    except (ValueError, KeyError, TypeError):
        raise UnusableStoreError("its index is damaged") from None
    if version != VERSION:
        raise UnusableStoreError(f"of version {version}, not {VERSION}")
    places: dict[str, tuple[int, int, int] | str] = {}
    first = 0
    for name, *about in images:
        if len(about) == 1:
            places[name] = about[0]
            continue
        height, width = about
        places[name] = (first, height, width)
        first += 3 * height * width
    if first != stop:
        raise UnusableStoreError("cut short")
    return places


def stored(images: ImageSet) -> FrameStore:
    """The store of a set, which is built if it is not there; whoever comes later waits for it.

    Raises :class:`ConfigError` if the folder is read-only, full, or allowed too little.
    """
    path = store_path(images)
    found = _open(path)
    if isinstance(found, FrameStore):
        return found
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _build_lock(path.parent):
            found = _open(path)  # somebody else may have built it meanwhile
            if isinstance(found, FrameStore):
                return found
            if found is not None:
                _tell(f"{path}: {found}; built anew")
            _make_room(path, bytes_needed(images))
            _write(path, images)
            return FrameStore(path)  # before another process may take it away as unused
    except OSError as error:
        raise ConfigError(
            f"data.cache: disk: {path.parent}: cannot be written: {error.strerror or error}; let "
            f"$HPCM_CACHE name a folder with {bytes_needed(images) / 1e9:.2f} GB of room"
        ) from None


def remove(images: ImageSet) -> bool:
    """Remove the store of a set, if there is one; runs that use it keep their frames.

    Raises OSError.
    """
    path = store_path(images)
    there = path.exists()
    path.unlink(missing_ok=True)
    return there


def store_path(images: ImageSet) -> Path:
    """Where the store of a set is, or would be."""
    return cache_folder() / f"{images.fingerprint.replace(':', '-')}.frames"


def bytes_needed(images: ImageSet) -> int:
    """The bytes of a set's frames: 3 a pixel."""
    return sum(3 * item.width * item.height for item in images.items)


def cache_folder() -> Path:
    """``$HPCM_CACHE``, by default ``hpcm`` in the user's folder for caches."""
    given = os.environ.get("HPCM_CACHE", "")
    usual = os.environ.get("XDG_CACHE_HOME", "") or "~/.cache"
    return Path(os.path.expanduser(given)) if given else Path(os.path.expanduser(usual), "hpcm")


def _open(path: Path) -> FrameStore | str | None:
    """The store; why it cannot be used; None if there is none."""
    try:
        store = FrameStore(path)
    except FileNotFoundError:
        return None
    except UnusableStoreError as error:
        return str(error)
    except OSError as error:
        return str(error.strerror or error)
    with contextlib.suppress(OSError):  # a folder that others filled may be read-only
        os.utime(path)  # when it was used last
    return store


@contextlib.contextmanager
def _build_lock(folder: Path) -> Iterator[None]:
    """Inside, no other process builds a store; a process that ends in any way leaves no lock."""
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _tell(f"{folder}: another process builds there; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make_room(path: Path, needed: int) -> None:
    """Remove what kills left, and stores unused for longest, until ``needed`` bytes fit."""
    folder = path.parent
    for left in folder.glob("*.partial"):
        left.unlink()
    path.unlink(missing_ok=True)
    most = _most()
    if needed > most:
        raise ConfigError(
            f"data.cache: disk: the frames take {needed / 1e9:.2f} GB, and $HPCM_CACHE_GB allows "
            f"{most / 1e9:g} for all stores"
        )
    stores = sorted(folder.glob("*.frames"), key=lambda store: store.stat().st_mtime)
    taken = sum(store.stat().st_size for store in stores)
    for store in stores:
        if taken + needed <= most and shutil.disk_usage(folder).free > needed:
            return
        taken -= _remove_unused(store)
    if taken + needed > most:
        raise ConfigError(
            f"data.cache: disk: the frames take {needed / 1e9:.2f} GB, $HPCM_CACHE_GB allows "
            f"{most / 1e9:g} for all stores, and other runs use {taken / 1e9:.2f} of them"
        )
    if shutil.disk_usage(folder).free <= needed:
        raise OSError(28, "No space left on device", str(folder))


def _most() -> float:
    given = os.environ.get("HPCM_CACHE_GB", "")
    try:
        most = float(given) if given else MOST
    except ValueError:
        most = -1.0
    if not most > 0:
        raise ConfigError(f"HPCM_CACHE_GB is {given!r}; must be a number of gigabytes above 0")
    return 1e9 * most


def _remove_unused(store: Path) -> int:
    """Remove a store unless a process has it open; gives the bytes that this frees."""
    with open_file(store) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return 0
        size = store.stat().st_size
        store.unlink()
        _tell(f"{store}: taken away, for {cache_folder()} would hold too much")
        return size


def _write(path: Path, images: ImageSet) -> None:
    """Decode all images, a few at a time, and write the store."""
    index: list[list[object]] = []
    with replacing(path) as file, _progress(images) as advance:
        for start in range(0, images.count, AT_ONCE):
            items = images.items[start : start + AT_ONCE]
            for item, frame in zip(items, in_threads(lambda i: i.read(), items), strict=True):
                advance()
                if isinstance(frame, SkippedItem):
                    index.append([item.name, frame.reason])
                    continue
                index.append([item.name, *frame.shape[:2]])
                file.write(np.ascontiguousarray(frame).data)
        text = json.dumps({"version": VERSION, "set": images.name, "images": index}).encode()
        file.write(text)
        file.write(_END.pack(len(text), MARK))


@contextlib.contextmanager
def _progress(images: ImageSet) -> Iterator[Callable[[], object]]:
    """A function that advances a progress bar by one image; no bar if nobody would see it."""
    try:
        from rich.console import Console
        from rich.progress import Progress
    except ImportError:
        yield lambda: None
        return
    console = Console(stderr=True)
    with Progress(console=console, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(f"decoding {images.name}", total=images.count)
        yield lambda: bar.advance(task)


def _tell(text: str) -> None:
    warnings.warn(text, FrameStoreNotice, stacklevel=3)
