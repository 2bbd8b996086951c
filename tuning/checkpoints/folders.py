"""One trial's folder of checkpoints: on a disk that nodes share, or behind a URL of pyarrow's.

In both kinds a checkpoint counts only with its record (:mod:`hpcm.checkpoints`). On a disk it is
written aside and renamed. An object store has no rename: there the record is written last, and
removed first. Checkpoints from before 0.1.0 have a manifest beside hpcm's own record.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pyarrow import fs

from hpcm.atomic_files import Contents, HashedFile
from hpcm.checkpoints import RECORD_FILE, Checkpoint, DamagedError, Record, compare, completed

PARTIAL = ".partial"
PREFIX = "epoch-"
WITHOUT_FOLDERS = ("s3", "gcs", "abfs")  # pyarrow's names of object stores
MANIFEST_FILE = "manifest.json"  # of all files, in checkpoints from before 0.1.0
CHUNK = 1 << 23  # bytes of a copy at a time
PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # seconds between attempts to reach an object store

Save = Callable[[Path], None]
T = TypeVar("T")


class CheckpointFolder(Protocol):
    """What a trial's store needs from the folder of its checkpoints."""

    def names(self) -> list[str]:
        """The checkpoints that were written to their end, oldest first."""

    def write(self, name: str, metrics: Mapping[str, float], save: Save) -> None:
        """Have ``save`` fill a folder, and keep it; a reader sees all of it or none."""

    def fetched(self, name: str) -> contextlib.AbstractContextManager[Checkpoint]:
        """The checkpoint in a local folder ``name``. Raises :class:`DamagedError`."""

    def remove(self, name: str) -> None:
        """Remove a checkpoint, if it is there."""

    def sweep(self) -> None:
        """Remove what a process that died left half written."""


class LocalFolder:
    """A folder on a filesystem of this machine."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> list[str]:
        """See :class:`CheckpointFolder`."""
        found = (path.name for path in self.path.glob(f"{PREFIX}*"))
        return sorted(name for name in found if not name.endswith(PARTIAL))

    def write(self, name: str, metrics: Mapping[str, float], save: Save) -> None:
        """See :class:`CheckpointFolder`."""
        folder = self._aside(name)
        try:
            folder.mkdir(parents=True)
            save(folder)
            completed(folder, metrics).write(folder)
            self._finish(folder, name)
        except Exception:
            shutil.rmtree(folder, ignore_errors=True)  # a full disk needs the room
            raise

    @contextlib.contextmanager
    def fetched(self, name: str) -> Iterator[Checkpoint]:
        """See :class:`CheckpointFolder`; here it is the checkpoint itself."""
        path = self.path / name
        try:
            record = _record(lambda file: (path / file).read_bytes())
        except OSError as error:
            raise DamagedError(f"its record cannot be read: {error.strerror}") from None
        record.check(path)
        yield Checkpoint(path, record)

    def remove(self, name: str) -> None:
        """See :class:`CheckpointFolder`."""
        shutil.rmtree(self.path / name, ignore_errors=True)

    def sweep(self) -> None:
        """See :class:`CheckpointFolder`."""
        for path in self.path.glob(f"{PREFIX}*{PARTIAL}"):
            shutil.rmtree(path, ignore_errors=True)

    def copy_from(self, donor: LocalFolder, name: str) -> None:
        """Take over another trial's checkpoint, by links if the filesystem has them."""
        folder = self._aside(name)
        shutil.copytree(donor.path / name, folder, copy_function=_share)
        self._finish(folder, name)

    def _aside(self, name: str) -> Path:
        folder = self.path / f"{name}.{os.getpid()}{PARTIAL}"
        shutil.rmtree(folder, ignore_errors=True)
        return folder

    def _finish(self, folder: Path, name: str) -> None:
        self.remove(name)
        folder.rename(self.path / name)


class RemoteFolder:
    """A folder of any filesystem of pyarrow's. Attempts are repeated for about a minute."""

    def __init__(self, filesystem: Any, path: str, pauses: tuple[float, ...] | None = None) -> None:
        self.filesystem, self.path = filesystem, path
        self._pauses = PAUSES if pauses is None else pauses

    def names(self) -> list[str]:
        """See :class:`CheckpointFolder`."""
        return [name for name in self._listed() if self._is_whole(name)]

    def write(self, name: str, metrics: Mapping[str, float], save: Save) -> None:
        """See :class:`CheckpointFolder`; first into a temporary folder of this machine."""
        with tempfile.TemporaryDirectory(prefix="hpcm-checkpoint-") as temporary:
            folder = Path(temporary)
            save(folder)
            record = completed(folder, metrics)
            self.remove(name)
            for file in record.files:
                self._repeated(partial(self._upload, folder / file, f"{name}/{file}"))
        self._seal(name, record)

    @contextlib.contextmanager
    def fetched(self, name: str) -> Iterator[Checkpoint]:
        """See :class:`CheckpointFolder`; a temporary folder that is gone with the context."""
        record = self._record(name)
        with tempfile.TemporaryDirectory(prefix="hpcm-checkpoint-") as temporary:
            folder = Path(temporary) / name
            folder.mkdir()
            for path, expected in record.files.items():
                target = folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                try:
                    found = self._repeated(partial(self._download, f"{name}/{path}", target))
                except FileNotFoundError:
                    raise DamagedError(f"{path} is missing") from None
                compare(path, expected, found)
            record.write(folder)
            yield Checkpoint(folder, record)

    def remove(self, name: str) -> None:
        """See :class:`CheckpointFolder`."""
        for seal in (MANIFEST_FILE, RECORD_FILE):
            with contextlib.suppress(FileNotFoundError):
                path = f"{self.path}/{name}/{seal}"
                self._repeated(partial(self.filesystem.delete_file, path))
        with contextlib.suppress(FileNotFoundError):
            self._repeated(lambda: self.filesystem.delete_dir(f"{self.path}/{name}"))

    def sweep(self) -> None:
        """See :class:`CheckpointFolder`."""
        for name in self._listed():
            if not self._is_whole(name):
                self.remove(name)

    def copy_from(self, donor: RemoteFolder, name: str) -> None:
        """Take over another trial's checkpoint, copied by the filesystem. Raises OSError."""
        record = donor._record(name)
        self.remove(name)
        for file in record.files:
            self._repeated(partial(self._copy, donor, f"{name}/{file}"))
        self._seal(name, record)

    def _record(self, name: str) -> Record:
        return _record(lambda file: self._repeated(lambda: self._read(f"{name}/{file}")))

    def _seal(self, name: str, record: Record) -> None:
        """Write the record, unless a file did not arrive whole."""
        for file, expected in record.files.items():
            path = f"{self.path}/{name}/{file}"
            size = self._repeated(partial(self.filesystem.get_file_info, path)).size
            if expected.size not in (None, size):
                raise OSError(f"{path}: {size} of {expected.size} bytes arrived")
        self._repeated(lambda: self._put(f"{name}/{RECORD_FILE}", record.encode()))

    def _listed(self) -> list[str]:
        selector = fs.FileSelector(self.path, allow_not_found=True)
        found = self._repeated(lambda: self.filesystem.get_file_info(selector))
        return sorted(info.base_name for info in found if info.base_name.startswith(PREFIX))

    def _is_whole(self, name: str) -> bool:
        paths = [f"{self.path}/{name}/{seal}" for seal in (RECORD_FILE, MANIFEST_FILE)]
        found = self._repeated(lambda: self.filesystem.get_file_info(paths))
        return any(info.type == fs.FileType.File for info in found)

    def _upload(self, source: Path, path: str) -> None:
        with source.open("rb") as file, self._writing(path) as out:
            shutil.copyfileobj(file, out, CHUNK)

    def _download(self, path: str, target: Path) -> Contents:
        opened = self.filesystem.open_input_stream
        with opened(f"{self.path}/{path}") as file, target.open("wb") as out:
            hashed = HashedFile(out)
            shutil.copyfileobj(file, hashed.stream, CHUNK)
        return hashed.contents

    def _read(self, path: str) -> bytes:
        with self.filesystem.open_input_stream(f"{self.path}/{path}") as file:
            return bytes(file.read())

    def _put(self, path: str, content: bytes) -> None:
        with self._writing(path) as out:
            out.write(content)

    def _copy(self, donor: RemoteFolder, path: str) -> None:
        self._make_parent(path)
        self.filesystem.copy_file(f"{donor.path}/{path}", f"{self.path}/{path}")

    def _writing(self, path: str) -> Any:
        self._make_parent(path)
        return self.filesystem.open_output_stream(f"{self.path}/{path}")

    def _make_parent(self, path: str) -> None:
        make_folder(self.filesystem, f"{self.path}/{path}".rpartition("/")[0])

    def _repeated(self, attempt: Callable[[], T]) -> T:
        """What ``attempt`` gives, repeated if the store fails. Raises the last OSError."""
        for pause in self._pauses:
            try:
                return attempt()
            except FileNotFoundError:
                raise
            except OSError:
                time.sleep(pause)
        return attempt()


def make_folder(filesystem: Any, path: str) -> None:
    """Make a folder, if the filesystem has any: in others pyarrow would write an object for it."""
    if filesystem.type_name not in WITHOUT_FOLDERS:
        filesystem.create_dir(path, recursive=True)


def _record(read: Callable[[str], bytes]) -> Record:
    """The record of a checkpoint whose small files ``read`` gives. Raises :class:`DamagedError`.

    Before 0.1.0 hpcm's own record had no metrics, and a manifest had them.
    """
    own = manifest = None
    with contextlib.suppress(FileNotFoundError):
        own = read(RECORD_FILE)
    record = None if own is None else Record.decode(own)
    if record is None or not record.metrics:
        with contextlib.suppress(FileNotFoundError):
            manifest = read(MANIFEST_FILE)
    if manifest is not None:
        record = _of_manifest(Record.decode(manifest), own, record)
    if record is None:
        raise DamagedError("it has no record")
    if not isinstance(record.metrics.get("epoch"), int | float):
        raise DamagedError("its record has no epoch")
    return record


def _of_manifest(manifest: Record, own: bytes | None, run: Record | None) -> Record:
    """A manifest and hpcm's own record, if there is one, as one record."""
    files = dict(manifest.files)
    expected = files.pop(RECORD_FILE, None)
    if expected is None or own is None or run is None:
        return Record(files, manifest.metrics)
    compare(RECORD_FILE, expected, Contents(len(own), hashlib.sha256(own).hexdigest()))
    return Record(files, manifest.metrics, run.run)


def _share(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
