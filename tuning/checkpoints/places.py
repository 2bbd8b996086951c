"""`--checkpoints`: the folder or URL below which the checkpoints of experiments are kept."""

from __future__ import annotations

import tempfile
import uuid
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pyarrow import ArrowException, fs

from hpcm.schema import ConfigError
from tuning.checkpoints.folders import CheckpointFolder, LocalFolder, RemoteFolder, make_folder
from tuning.ledger.folders import read_provenance
from tuning.ledger.redaction import redacted
from tuning.spaces.refusals import NotNowError

CHECKPOINTS = "checkpoints"  # folder of an experiment, if no other place is given
FORM = (
    "a folder that all nodes see, or s3://, gs://, abfs:// or hdfs:// and what pyarrow wants there"
)


def checkpoint_folder(experiment: Path, trial: str, place: str | None) -> CheckpointFolder:
    """Where a trial's checkpoints are; ``place`` as :func:`checkpoint_place` gives it."""
    if place is None:
        return LocalFolder(experiment / CHECKPOINTS / trial)
    filesystem, path = _opened(place)
    if isinstance(filesystem, fs.LocalFileSystem):
        return LocalFolder(Path(path) / experiment.name / trial)
    return RemoteFolder(filesystem, f"{path}/{experiment.name}/{trial}")


def checkpoint_place(text: str, problem: type[ConfigError] = ConfigError) -> str:
    """An absolute path or a URL, tried by writing there. Raises ``problem`` if that fails."""
    place = text.rstrip("/") if "://" in text else str(Path(text).expanduser().absolute())
    if urlsplit(place).password or redacted(place) != place:
        raise ConfigError(
            f"--checkpoints {redacted(place)}: holds a secret, which every record of the experiment"
            " would show; give it by the environment or the machine's role"
        )
    try:
        filesystem, path = _opened(place)
        if isinstance(filesystem, fs.LocalFileSystem):
            _try_folder(Path(path))
        else:
            _try_store(filesystem, path)
    except (OSError, ValueError, ArrowException) as error:  # a scheme that pyarrow does not know
        reason = getattr(error, "strerror", None) or redacted(" ".join(str(error).split()))[:300]
        raise problem(f"--checkpoints {redacted(text)}: {reason}; must be {FORM}") from None
    return place


def experiment_place(experiment: Path, text: str | None, resumed: bool) -> str | None:
    """Where the checkpoints of an experiment are; None: in its own folder.

    Raises :class:`ConfigError` for a place that does not work, that holds those of another
    experiment of the same name, or that is not the recorded place of an experiment to resume, and
    :class:`NotNowError` if the recorded place does not work at the moment.
    """
    place = checkpoint_place(text, NotNowError if resumed else ConfigError) if text else None
    if not resumed:
        if place is not None and holds(place, experiment.name):
            raise ConfigError(f"--checkpoints {place}: holds {experiment.name} already")
        return place
    before: str | None = read_provenance(experiment).get("checkpoints")
    if place not in (None, before):
        raise ConfigError(
            f"--checkpoints {place}: {experiment.name} has its checkpoints in"
            f" {before or experiment / CHECKPOINTS}; leave the flag out"
        )
    return checkpoint_place(before, NotNowError) if before else None


def local_folder(place: str | None, storage: Path) -> Path | None:
    """The folder whose disk takes the checkpoints; None if an object store does."""
    if place is None:
        return storage
    filesystem, path = _opened(place)
    return Path(path) if isinstance(filesystem, fs.LocalFileSystem) else None


def holds(place: str, name: str) -> bool:
    """Whether there is anything of an experiment of this name."""
    filesystem, path = _opened(place)
    return bool(filesystem.get_file_info(f"{path}/{name}").type != fs.FileType.NotFound)


@lru_cache(maxsize=4)
def _opened(place: str) -> tuple[Any, str]:
    """The filesystem, with its connections, and the path in it."""
    if "://" not in place:
        return fs.LocalFileSystem(), place
    filesystem, path = fs.FileSystem.from_uri(place)
    return filesystem, path.rstrip("/")


def _try_folder(path: Path) -> None:
    """Raise OSError if the folder cannot be made or written to; leaves nothing."""
    existing = next(p for p in (path, *path.parents) if p.exists())
    with tempfile.TemporaryFile(dir=existing) as file:
        file.write(b"room?")


def _try_store(filesystem: Any, path: str) -> None:
    """Raise if the store cannot be written to and read; leaves nothing."""
    name = f"{path}/hpcm-tune-{uuid.uuid4().hex}"
    make_folder(filesystem, path)
    with filesystem.open_output_stream(name) as out:
        out.write(b"room?")
    with filesystem.open_input_stream(name) as file:
        if file.read() != b"room?":
            raise OSError("what was written is not what is read")
    filesystem.delete_file(name)
