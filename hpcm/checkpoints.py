"""The record of a checkpoint: which files it has, byte for byte, and what they are of.

A checkpoint is a folder. Its record is written last, so its presence means that the folder is
complete; what it says of the files is known from when they were written.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from hpcm.atomic_files import Contents, write_atomically
from hpcm.files import parse_json, read_bytes
from hpcm.schema import ConfigError

RECORD_FILE = "run.json"
FORMAT = 2  # 1 has "sha256" instead of "files", and neither metrics nor imports

#: What the record of a run holds besides files and metrics; the last three may be missing.
RUN = {"epoch": int, "step": int, "config": dict, "config_digest": str, "torch": str}
RUN |= {"imports": dict, "noise": str}
REQUIRED = ("epoch", "step", "config", "config_digest")


class DamagedError(ConfigError):
    """A checkpoint that is not what was saved; the text says why."""


@dataclass(frozen=True)
class Record:
    """What a checkpoint holds."""

    files: Mapping[str, Contents]  # by their paths in the folder
    metrics: Mapping[str, float] = field(default_factory=dict)  # of its epoch
    run: Mapping[str, Any] = field(default_factory=dict)  # RUN; empty if not of hpcm's training

    def write(self, folder: Path) -> None:
        """Complete ``folder`` with this record. Raises OSError."""
        write_atomically(folder / RECORD_FILE, self.encode())

    def encode(self) -> bytes:
        """As it stands in :data:`RECORD_FILE`."""
        files = {path: [found.size, found.sha256] for path, found in self.files.items()}
        content = {"format": FORMAT, **self.run, "metrics": dict(self.metrics), "files": files}
        return json.dumps(content, indent=1).encode()

    @classmethod
    def decode(cls, content: bytes) -> Record:
        """The inverse of :meth:`encode`. Raises :class:`DamagedError` naming what is wrong."""
        try:
            plain = parse_json(content.decode(), "not a record", infinite=True)
        except (UnicodeDecodeError, ConfigError) as error:
            raise DamagedError(str(error)) from None
        if not isinstance(plain, dict):
            raise DamagedError("not a record: no keys")
        files = _files(plain)
        metrics = plain.get("metrics", {})
        if not isinstance(metrics, dict):
            raise DamagedError("not a record: metrics is damaged")
        run = {key: plain[key] for key in RUN if key in plain}
        needed = REQUIRED if run else ()
        for key in dict.fromkeys([*needed, *run]):
            if not isinstance(run.get(key), RUN[key]):
                raise DamagedError(f"not the record of a run: {key} is missing or damaged")
        return cls(files, metrics, run)

    def check(self, folder: Path, names: Iterable[str] | None = None) -> None:
        """Raise :class:`DamagedError` unless the files (of ``names``, or all) are as they were."""
        for name in self.files if names is None else names:
            try:
                found = Contents.of(folder / name)
            except OSError as error:
                raise DamagedError(f"{name} cannot be read: {error.strerror}") from None
            if name not in self.files:
                raise DamagedError(f"{name} is not in its record")
            compare(name, self.files[name], found)


@dataclass(frozen=True)
class Checkpoint:
    """A folder and its record, after its files were found to be as they were written."""

    folder: Path
    record: Record

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics of its epoch."""
        return dict(self.record.metrics)


def compare(name: str, expected: Contents, found: Contents) -> None:
    """Raise :class:`DamagedError` if a file is not what it was."""
    if expected.size not in (None, found.size):
        raise DamagedError(f"{name} is damaged: {found.size:,} bytes instead of {expected.size:,}")
    if found.sha256 != expected.sha256:
        raise DamagedError(f"{name} is damaged: its checksum differs")


def read_record(folder: str | Path) -> Record:
    """A checkpoint's record, its files not looked at. Raises :class:`DamagedError`."""
    path = Path(folder) / RECORD_FILE
    try:
        content = read_bytes(path)
    except ConfigError as error:
        raise DamagedError(f"{folder}: not a complete checkpoint: {error}") from None
    try:
        return Record.decode(content)
    except DamagedError as error:
        raise DamagedError(f"{path}: {error}") from None


def read_checkpoint(folder: str | Path) -> Checkpoint:
    """A checkpoint whose files are read and found whole. Raises :class:`DamagedError`."""
    record = read_record(folder)
    try:
        record.check(Path(folder))
    except DamagedError as error:
        raise DamagedError(f"{folder}: {error}") from None
    return Checkpoint(Path(folder), record)


def completed(folder: Path, metrics: Mapping[str, float]) -> Record:
    """The record of a folder that some training has filled, with these metrics of its epoch.

    Files that the training did not record itself are read. The folder is left as it is.
    """
    known = read_record(folder) if (folder / RECORD_FILE).exists() else Record({})
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    files = {
        name: known.files[name] if name in known.files else Contents.of(folder / name)
        for name in sorted(names)
        if name != RECORD_FILE
    }
    return Record(files, metrics, known.run)


def _files(plain: Mapping[str, Any]) -> dict[str, Contents]:
    """The files of a record in either format."""
    try:
        if "files" in plain:
            files = {name: Contents(*found) for name, found in plain["files"].items()}
        else:
            files = {name: Contents(None, found) for name, found in plain["sha256"].items()}
        if not all(isinstance(found.sha256, str) and _is_below(n) for n, found in files.items()):
            raise TypeError
    except (AttributeError, KeyError, TypeError):
        raise DamagedError("not a record: files is missing or damaged") from None
    return files


def _is_below(name: str) -> bool:
    """Whether a relative path stays below the folder that it starts from."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and name != ""
