"""Checkpoints behind a URL: a store that fails or loses bytes, and which places are taken."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pyarrow import fs

from hpcm import ConfigError
from hpcm.checkpoints import RECORD_FILE
from tests.tuning.flaky_store import WEIGHTS, Flaky, epochs, save, saver
from tests.tuning.lr_space import lr_space
from tests.tuning.s3_server import S3Server, s3_server
from tuning.checkpoints import places
from tuning.checkpoints.folders import LocalFolder, RemoteFolder
from tuning.checkpoints.store import CheckpointStore, name_of
from tuning.ledger.folders import write_experiment
from tuning.spaces.refusals import NotNowError


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """A server for pyarrow's own S3 client."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr("tuning.checkpoints.folders.PAUSES", ())
    places._opened.cache_clear()
    with s3_server() as server:
        yield server
    places._opened.cache_clear()


@pytest.fixture
def flaky(tmp_path: Path) -> Flaky:
    return Flaky(tmp_path / "bucket")


@pytest.mark.parametrize("operation", ["write", "info", "list", "delete", "read"])
def test_a_store_that_fails_for_a_moment_is_asked_again(flaky: Flaky, operation: str) -> None:
    def folder() -> RemoteFolder:
        return RemoteFolder(fs.PyFileSystem(flaky), "x/t", pauses=(0.0, 0.0, 0.0))

    for epoch in (1, 2):
        folder().write(name_of(epoch), {"epoch": float(epoch)}, saver(str(epoch)))
    flaky.failing = {operation: 3}
    folder().write(name_of(3), {"epoch": 3.0}, saver("3"))
    folder().remove(name_of(1))
    assert folder().names() == [name_of(2), name_of(3)]
    with folder().fetched(name_of(3)) as found:
        assert (found.folder / "model.pt").read_bytes() == b"3" + WEIGHTS
        assert found.metrics == {"epoch": 3.0}
    assert flaky.failing == {operation: 0}


def test_a_store_that_stays_away_costs_no_checkpoint(flaky: Flaky, tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "x", "t")
    store.folder = RemoteFolder(fs.PyFileSystem(flaky), "x/t", pauses=(0.0,))
    save(store, 1, 2)
    flaky.failing = {"write": 100}
    with pytest.raises(OSError, match="the store does not answer"):
        save(store, 3)
    flaky.failing = {}
    assert epochs(store) == [2, 1]
    flaky.failing = {"read": 100}
    with pytest.raises(OSError, match="the store does not answer"):  # and not: none is there
        epochs(store)


def test_an_upload_that_was_cut_gets_no_record(flaky: Flaky, tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "x", "t")
    store.folder = RemoteFolder(fs.PyFileSystem(flaky), "x/t", pauses=())
    save(store, 1)
    flaky.cut = 100
    with pytest.raises(OSError, match=r"epoch-000002/model\.pt: 100 of 12,?312 bytes arrived"):
        save(store, 2)
    assert epochs(store) == [1]


def test_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert places.checkpoint_place("scratch") == str(tmp_path / "scratch")
    assert places.checkpoint_place("mock://bucket/x/") == "mock://bucket/x"
    assert not (tmp_path / "scratch").exists()
    experiment = tmp_path / "e-1"
    for place in (None, str(tmp_path / "scratch"), f"file://{tmp_path}/scratch"):
        assert isinstance(places.checkpoint_folder(experiment, "t", place), LocalFolder)
    assert places.local_folder(None, tmp_path) == tmp_path
    assert places.local_folder(f"file://{tmp_path}/scratch", experiment) == tmp_path / "scratch"
    assert places.local_folder("mock://bucket/x", tmp_path) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "ftp://host/x",
            "--checkpoints ftp://host/x: .*must be a folder that all nodes see, or s3",
        ),
        ("s3://key:hunter2@bucket/x", "holds a secret, which every record"),
        ("abfs://box@account/x?account_key=hunter2", "holds a secret"),
        ("file", "--checkpoints file: Not a directory; must be"),
        ("/proc/x", "--checkpoints /proc/x: .*; must be"),
    ],
)
def test_a_place_that_does_not_work_is_refused(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    with pytest.raises(ConfigError, match=message) as raised:
        places.checkpoint_place(text)
    assert "hunter2" not in str(raised.value)


def test_a_resume_knows_the_place(tmp_path: Path) -> None:
    space, scratch = lr_space(tmp_path), tmp_path / "scratch"
    experiment = tmp_path / "rates-x"
    assert places.experiment_place(experiment, str(scratch), resumed=False) == str(scratch)
    write_experiment(experiment, space, checkpoints=str(scratch))
    assert places.experiment_place(experiment, None, resumed=True) == str(scratch)
    assert places.experiment_place(experiment, str(scratch), resumed=True) == str(scratch)
    with pytest.raises(ConfigError, match="has its checkpoints in .*scratch; leave the flag out"):
        places.experiment_place(experiment, str(tmp_path), resumed=True)
    save(CheckpointStore(experiment, "t", str(scratch)), 1)
    with pytest.raises(ConfigError, match=r"scratch: holds rates-x already"):
        places.experiment_place(experiment, str(scratch), resumed=False)
    write_experiment(experiment, space)
    assert places.experiment_place(experiment, None, resumed=True) is None
    with pytest.raises(ConfigError, match=r"rates-x/checkpoints; leave the flag out"):
        places.experiment_place(experiment, str(scratch), resumed=True)


def test_checkpoints_in_s3(s3: S3Server, tmp_path: Path) -> None:
    experiment, place = tmp_path / "rates-x", places.checkpoint_place(s3.url)
    assert not [key for key in s3.objects if not key.endswith("/")]  # what was tried is gone
    save(CheckpointStore(experiment, "t", place), 1, 2, 3)
    root = "searches/rates-x/t/epoch-00000"
    files = (RECORD_FILE, "model.pt", "more/state.json")
    kept = {key for key in s3.objects if not key.endswith("/")}
    assert kept == {f"{root}{epoch}/{file}" for epoch in (2, 3) for file in files}
    puts = [r for r in s3.requests if r.startswith("POST") and "uploadId" in r and f"{root}3/" in r]
    assert puts[-1].endswith(f"{RECORD_FILE} uploadId")  # the last

    found = CheckpointStore(experiment, "t", place).newest_first()
    newest = next(found)
    path = newest.folder
    assert (path.name, newest.metrics["epoch"]) == ("epoch-000003", 3.0)
    assert (path / "model.pt").read_bytes() == b"epoch 3" + WEIGHTS
    found.close()
    assert not path.exists()

    copy = CheckpointStore(experiment, "copy", place)
    copy.adopt(CheckpointStore(experiment, "t", place), 3)
    assert epochs(copy) == [3]
    del s3.objects[f"{root}3/{RECORD_FILE}"]
    content = bytearray(s3.objects[f"{root}2/model.pt"])
    content[5] ^= 1
    store = CheckpointStore(experiment, "t", place)
    assert epochs(store) == [2]
    store.sweep()
    assert not [key for key in s3.objects if key.startswith(f"{root}3/")]
    s3.objects[f"{root}2/model.pt"] = bytes(content)
    assert epochs(store) == []
    assert store.problems == [
        "its checkpoint epoch-000002 was passed over: model.pt is damaged: its checksum differs"
    ]


def test_an_s3_that_lets_nobody_in_is_no_empty_one(s3: S3Server, tmp_path: Path) -> None:
    place = places.checkpoint_place(s3.url)
    store = CheckpointStore(tmp_path / "rates-x", "t", place)
    save(store, 1)
    s3.closed = True
    with pytest.raises(OSError, match=r"."):
        epochs(store)
    with pytest.raises(OSError, match=r"."):
        save(store, 2)
    with pytest.raises(ConfigError, match=r"--checkpoints s3://bucket/searches.*: .*; must be a"):
        places.checkpoint_place(s3.url)
    s3.closed = False
    assert epochs(store) == [1]


def test_a_resume_knows_its_bucket_and_a_new_experiment_takes_no_old_one(
    s3: S3Server, tmp_path: Path
) -> None:
    experiment = tmp_path / "rates-x"
    place = places.experiment_place(experiment, s3.url, resumed=False)
    write_experiment(experiment, lr_space(tmp_path), checkpoints=place)
    save(CheckpointStore(experiment, "t", place), 1)
    assert places.experiment_place(experiment, None, resumed=True) == place == s3.url
    with pytest.raises(ConfigError, match="holds rates-x already"):
        places.experiment_place(experiment, s3.url, resumed=False)
    s3.closed = True
    with pytest.raises(NotNowError):
        places.experiment_place(experiment, None, resumed=True)
    s3.closed = False
