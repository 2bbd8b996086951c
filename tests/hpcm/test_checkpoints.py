"""The record of a checkpoint: what it says of the files, and what is done if that is not so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpcm.atomic_files import Contents
from hpcm.checkpoints import (
    RECORD_FILE,
    DamagedError,
    Record,
    completed,
    read_checkpoint,
    read_record,
)

RUN = {"epoch": 2, "step": 4, "config": {"seed": 0}, "config_digest": "ab", "torch": "2.8"}
METRICS = {"epoch": 2.0, "val_bpp": 0.5}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files and their record."""
    (tmp_path / "below").mkdir()
    (tmp_path / "model.pt").write_bytes(b"weights")
    (tmp_path / "below" / "more.bin").write_bytes(b"")
    completed(tmp_path, METRICS).write(tmp_path)
    return tmp_path


def test_a_record_is_read_as_it_was_written(folder: Path) -> None:
    files = {name: Contents.of(folder / name) for name in ("below/more.bin", "model.pt")}
    record = Record(files, METRICS, {**RUN, "imports": {"mine.py": "12"}})
    record.write(folder)
    assert read_record(folder) == record
    assert read_checkpoint(folder).record == record
    assert Record.decode(record.encode()) == record


def test_a_folder_of_any_training_can_be_completed(folder: Path) -> None:
    record = read_record(folder)
    assert list(record.files) == ["below/more.bin", "model.pt"]
    assert (record.metrics, record.run) == (METRICS, {})


def test_what_a_training_recorded_itself_is_not_read_again(folder: Path) -> None:
    found = Contents(7, "0" * 64)
    Record({"model.pt": found}, {}, RUN).write(folder)
    record = completed(folder, METRICS)
    assert record.files == {
        "model.pt": found,
        "below/more.bin": Contents.of(folder / "below/more.bin"),
    }
    assert (record.metrics, record.run) == (METRICS, RUN)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda f: (f / "model.pt").write_bytes(b"weight"), "model.pt is damaged: 6 bytes instead"),
        (lambda f: (f / "model.pt").write_bytes(b"weighty"), "model.pt is damaged: its checksum"),
        (lambda f: (f / "model.pt").unlink(), "model.pt cannot be read: No such file"),
        (lambda f: (f / RECORD_FILE).unlink(), "not a complete checkpoint"),
        (lambda f: (f / RECORD_FILE).write_text("{"), "not a record: "),
        (lambda f: (f / RECORD_FILE).write_text("[]"), "not a record: no keys"),
        (lambda f: (f / RECORD_FILE).write_text("{}"), "files is missing or damaged"),
        (lambda f: edit(f, files={"a": [1, 2, 3]}), "files is missing or damaged"),
        (lambda f: edit(f, files={"a": [1, 2]}), "files is missing or damaged"),
        (lambda f: edit(f, files={"/etc/passwd": [1, "2"]}), "files is missing or damaged"),
        (lambda f: edit(f, files={"a/../../b": [1, "2"]}), "files is missing or damaged"),
        (lambda f: edit(f, metrics=[]), "metrics is damaged"),
        (lambda f: edit(f, **(RUN | {"epoch": "2"})), "epoch is missing or damaged"),
        (lambda f: edit(f, config={}), "epoch is missing or damaged"),
        (lambda f: edit(f, **RUN, imports=[]), "imports is missing or damaged"),
    ],
)
def test_a_damaged_checkpoint_is_refused(
    harm: Callable[[Path], object], message: str, folder: Path
) -> None:
    harm(folder)
    with pytest.raises(DamagedError, match=message) as refused:
        read_checkpoint(folder)
    assert str(refused.value).startswith(str(folder))


def edit(folder: Path, **changes: Any) -> None:
    path = folder / RECORD_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_record_from_before_knows_checksums_alone(folder: Path) -> None:
    files = {name: found.sha256 for name, found in read_record(folder).files.items()}
    (folder / RECORD_FILE).write_text(json.dumps({**RUN, "sha256": files}))
    record = read_checkpoint(folder).record
    assert (record.run, record.metrics) == (RUN, {})
    (folder / "model.pt").write_bytes(b"weighty")
    with pytest.raises(DamagedError, match="model.pt is damaged: its checksum"):
        read_checkpoint(folder)
