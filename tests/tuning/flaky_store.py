"""A filesystem with the manners of an object store, which fails when told to; files to save."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyarrow import fs

from hpcm.checkpoints import RECORD_FILE
from tuning.checkpoints.store import CheckpointStore

CHUNK = 1 << 12  # of a copy, so that there are several
WEIGHTS = os.urandom(3 * CHUNK + 17)


def saver(text: str = "weights") -> Callable[[Path], None]:
    def save(folder: Path) -> None:
        (folder / "model.pt").write_bytes(text.encode() + WEIGHTS)
        (folder / "more").mkdir()
        (folder / "more" / "state.json").write_text(text)

    return save


class Flaky(fs.FileSystemHandler):
    """A filesystem in a folder, with the manners of an object store, that fails when told to.

    ``failing``: names of operations and how often they still fail; ``cut``: bytes after which what
    is written is lost without a word.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.fs = folder, fs.SubTreeFileSystem(str(folder), fs.LocalFileSystem())
        self.failing: dict[str, int] = {}
        self.cut: int | None = None
        self.calls: list[str] = []

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if self.failing.get(name, 0) > 0:
            self.failing[name] -= 1
            raise OSError("the store does not answer")

    def get_type_name(self) -> str:
        return "flaky"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: list[str]) -> Any:
        self._call("info")
        return [self.fs.get_file_info(path) for path in paths]

    def get_file_info_selector(self, selector: Any) -> Any:
        self._call("list")
        return self.fs.get_file_info(selector)

    def create_dir(self, path: str, recursive: bool) -> None:
        self.fs.create_dir(path, recursive=recursive)

    def delete_dir(self, path: str) -> None:
        self._call("delete")
        self.fs.delete_dir(path)

    def delete_file(self, path: str) -> None:
        self._call("delete")
        self.fs.delete_file(path)

    def copy_file(self, src: str, dest: str) -> None:
        self._call("copy")
        self.fs.copy_file(src, dest)

    def open_input_stream(self, path: str) -> Any:
        self._call("read")
        return self.fs.open_input_stream(path)

    def open_output_stream(self, path: str, metadata: Any) -> Any:
        self._call("write")
        if self.cut is not None and not path.endswith(RECORD_FILE):
            real = self.folder / path
            real.write_bytes(b"x" * self.cut)
            return fs.LocalFileSystem().open_output_stream(os.devnull)
        return self.fs.open_output_stream(path)

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        raise NotImplementedError

    def delete_root_dir_contents(self) -> None:
        raise NotImplementedError

    def move(self, src: str, dest: str) -> None:
        raise NotImplementedError  # an object store has no rename

    def open_input_file(self, path: str) -> Any:
        raise NotImplementedError

    def open_append_stream(self, path: str, metadata: Any) -> Any:
        raise NotImplementedError


def epochs(store: CheckpointStore) -> list[int]:
    return [int(found.metrics["epoch"]) for found in store.newest_first()]


def save(store: CheckpointStore, *epochs: int) -> None:
    for epoch in epochs:
        store.save(epoch, {"epoch": float(epoch), "loss": 1 / epoch}, saver(f"epoch {epoch}"))
