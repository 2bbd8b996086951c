"""Checkpoints on a disk and behind a URL: whole or not there, the one before when in doubt."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs

from hpcm import TrainConfig, train
from hpcm.checkpoints import RECORD_FILE, Record
from tests.toy_codec import ToyCodec
from tests.tuning.flaky_store import CHUNK, WEIGHTS, Flaky, epochs, save, saver
from tuning.checkpoints import places
from tuning.checkpoints.folders import RemoteFolder
from tuning.checkpoints.store import CheckpointStore

GOLDEN = Path(__file__).parents[2] / "golden/checkpoints/with_manifest"


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuning.checkpoints.folders.CHUNK", CHUNK)


@pytest.fixture
def flaky(tmp_path: Path) -> Flaky:
    return Flaky(tmp_path / "bucket")


@pytest.fixture(params=["disk", "store", "mock"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, flaky: Flaky
) -> Iterator[Callable[..., CheckpointStore]]:
    """``store(trial="t")``: a new process's view of the trial's checkpoints."""
    places._opened.cache_clear()

    def make(trial: str = "t") -> CheckpointStore:
        experiment = tmp_path / "rates-x"
        if request.param == "disk":
            return CheckpointStore(experiment, trial, str(tmp_path / "scratch"))
        if request.param == "mock":
            return CheckpointStore(experiment, trial, "mock://bucket/prefix")
        found = CheckpointStore(experiment, trial)
        found.folder = RemoteFolder(fs.PyFileSystem(flaky), f"rates-x/{trial}", pauses=(0.0,))
        return found

    yield make
    places._opened.cache_clear()


def test_what_was_saved_is_what_is_continued(store: Callable[..., CheckpointStore]) -> None:
    save(store(), 1, 3)
    newest = next(found := store().newest_first())
    path = newest.folder
    assert path.name == "epoch-000003"
    assert newest.metrics == {"epoch": 3.0, "loss": 1 / 3}
    assert (path / "model.pt").read_bytes() == b"epoch 3" + WEIGHTS
    assert (path / "more" / "state.json").read_text() == "epoch 3"
    found.close()


def test_two_are_kept_and_one_on_request(store: Callable[..., CheckpointStore]) -> None:
    save(store(), 1, 2, 3)
    assert epochs(store()) == [3, 2]
    store().keep(1)
    assert epochs(store()) == [3]
    store().keep(0)
    assert epochs(store()) == []
    store().keep(0)


def test_an_epoch_is_saved_anew_over_the_old_one(store: Callable[..., CheckpointStore]) -> None:
    save(store(), 1, 2)
    store().save(2, {"epoch": 2.0}, saver("again"))
    for found in store().newest_first():
        assert (found.folder / "more" / "state.json").read_text() == "again"
        break
    assert epochs(store()) == [2, 1]


def test_half_a_checkpoint_is_none_and_is_swept(store: Callable[..., CheckpointStore]) -> None:
    save(store(), 1)
    dying = store()

    def die(folder: Path) -> None:
        saver()(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dying.save(2, {"epoch": 2.0}, die)
    if isinstance(dying.folder, RemoteFolder):  # killed in the middle of the upload
        dying.folder.filesystem.create_dir(f"{dying.folder.path}/epoch-000002", recursive=True)
        with dying.folder.filesystem.open_output_stream(
            f"{dying.folder.path}/epoch-000002/model.pt"
        ) as out:
            out.write(b"half")
    assert epochs(store()) == [1]
    store().sweep()
    save(store(), 3)
    assert epochs(store()) == [3, 1]


@pytest.mark.parametrize("there", [False, True], ids=["none", "an old one"])
def test_a_copy_is_whole_and_alone(store: Callable[..., CheckpointStore], there: bool) -> None:
    save(store("donor"), 1, 2)
    if there:
        save(store("copy"), 1, 2)
    store("copy").adopt(store("donor"), 2)
    assert epochs(store("copy")) == [2]
    for found in store("copy").newest_first():
        assert (found.folder / "model.pt").read_bytes() == b"epoch 2" + WEIGHTS
    store("donor").keep(0)
    assert epochs(store("copy")) == [2]
    with pytest.raises(OSError, match=r"."):
        store("copy").adopt(store("donor"), 7)
    assert epochs(store("copy")) == [2]


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a byte": (lambda p: _flip(p / "model.pt"), "model.pt is damaged: its checksum differs"),
    "cut": (lambda p: _cut(p / "model.pt"), f"bytes instead of {len(WEIGHTS) + 7:,}"),
    "file gone": (lambda p: (p / "more/state.json").unlink(), "more/state.json"),
    "no record": (lambda p: (p / RECORD_FILE).unlink(), "it has no record"),
    "record cut": (lambda p: _cut(p / RECORD_FILE), "not a record"),
    "empty record": (lambda p: (p / RECORD_FILE).write_text(""), "not a record"),
    "no epoch": (lambda p: Record({}, {"loss": 1.0}).write(p), "its record has no epoch"),
}


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[CHUNK + 5] ^= 1
    path.write_bytes(content)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("kind", ["disk", "store"])
def test_a_damaged_one_is_passed_over_for_the_one_before(
    tmp_path: Path, flaky: Flaky, kind: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = CheckpointStore(tmp_path / "rates-x", "t")
    root = tmp_path / "rates-x/checkpoints/t"
    if kind == "store":
        store.folder = RemoteFolder(fs.PyFileSystem(flaky), "rates-x/t", pauses=())
        root = flaky.folder / "rates-x/t"
    save(store, 1, 3)
    harm, found = DAMAGE[damage]
    harm(root / "epoch-000003")
    assert epochs(store) == [1]
    if kind == "disk" or damage != "no record":  # a store lists none without
        assert found in caplog.text
        assert "checkpoint t/epoch-000003 passed over: " in caplog.text
    save(store, 2)  # trained again; the damaged one goes, though it is of a later epoch
    assert epochs(store) == [2, 1]
    if kind == "disk" or damage != "no record":
        assert not (root / "epoch-000003").exists()


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The folder of a trial whose checkpoint has a manifest beside hpcm's own record."""
    trial = tmp_path / "rates-x/checkpoints/t"
    shutil.copytree(GOLDEN, trial)
    return trial


def resumed(store: CheckpointStore, cfg: TrainConfig) -> list[dict[str, float]]:
    checkpoint = next(found := store.newest_first())
    reports = [report.metrics for report in train(cfg, model=ToyCodec(), resume=checkpoint)]
    found.close()
    return reports


def test_a_checkpoint_with_a_manifest_is_continued(old: Path, image_folder: Any) -> None:
    """As trials were saved before 0.1.0; a copy of it too."""
    data = image_folder("few", count=2)
    plain = json.loads((old / "epoch-000001" / RECORD_FILE).read_text())["config"]
    plain["data"] |= {"train": data.name, "val": data.name}
    cfg = TrainConfig.from_plain(plain, "golden")
    store, copy = (CheckpointStore(old.parents[1], trial) for trial in ("t", "copy"))
    (report,) = resumed(store, cfg)
    assert report["epoch"] == 2.0
    copy.adopt(store, 1)
    assert resumed(copy, cfg)[0]["val_bpp"] == report["val_bpp"]


def test_one_with_a_manifest_in_a_store_is_copied_as_one_record(
    tmp_path: Path, flaky: Flaky
) -> None:
    shutil.copytree(GOLDEN, flaky.folder / "rates-x/donor")
    donor, copy = (
        RemoteFolder(fs.PyFileSystem(flaky), f"rates-x/{trial}", pauses=())
        for trial in ("donor", "copy")
    )
    assert donor.names() == ["epoch-000001"]
    copy.copy_from(donor, "epoch-000001")
    folder = flaky.folder / "rates-x/copy/epoch-000001"
    assert {path.name for path in folder.iterdir()} == {"model.pt", "training.pt", RECORD_FILE}
    with copy.fetched("epoch-000001") as found:
        assert found.record.run["epoch"] == found.metrics["epoch"] == 1
    donor.remove("epoch-000001")
    assert donor.names() == []


@pytest.mark.parametrize(
    ("name", "harm"),
    [("model.pt", _flip), (RECORD_FILE, _cut), ("manifest.json", _cut)],
)
def test_a_damaged_one_with_a_manifest_is_passed_over(
    old: Path, name: str, harm: Callable[[Path], None]
) -> None:
    harm(old / "epoch-000001" / name)
    store = CheckpointStore(old.parents[1], "t")
    assert list(store.newest_first()) == []
    assert len(store.problems) == 1


def test_files_are_hashed_while_they_are_written_and_once_at_a_resume(
    tmp_path: Path, image_folder: Any, hashed: list[str]
) -> None:
    plain = json.loads((GOLDEN / "epoch-000001" / RECORD_FILE).read_text())["config"]
    plain["data"] |= {"train": image_folder("few", count=2).name, "val": "few"}
    cfg = TrainConfig.from_plain(plain, "golden")
    store = CheckpointStore(tmp_path, "t")
    report = next(iter(train(cfg, model=ToyCodec())))
    store.save(1, report.metrics, report.save)
    assert hashed == []
    resumed(store, cfg)
    assert sorted(hashed) == ["model.pt", "training.pt"]


def test_a_full_disk_keeps_the_one_before_and_frees_what_was_begun(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, "t")
    save(store, 1)

    def full(folder: Path) -> None:
        saver()(folder)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        store.save(2, {"epoch": 2.0}, full)
    assert [path.name for path in store.directory.iterdir()] == ["epoch-000001"]
    assert epochs(store) == [1]


def test_files_of_a_copy_on_a_disk_are_shared(tmp_path: Path) -> None:
    donor, copy = (CheckpointStore(tmp_path, trial) for trial in ("donor", "copy"))
    save(donor, 1)
    copy.adopt(donor, 1)
    files = [s.directory / "epoch-000001" / "model.pt" for s in (donor, copy)]
    assert files[0].stat().st_ino == files[1].stat().st_ino


def test_readers_never_see_a_part(tmp_path: Path) -> None:
    """A reader beside a writer: what it sees is whole, whatever the moment."""
    store, done = CheckpointStore(tmp_path, "t"), threading.Event()

    def write() -> None:
        for epoch in range(1, 30):
            store.save(epoch, {"epoch": float(epoch)}, partial(fill, str(epoch)))
        done.set()

    def fill(text: str, folder: Path) -> None:
        (folder / "a").write_text(text)
        (folder / "b").write_text(text)

    thread = threading.Thread(target=write)
    thread.start()
    seen = set()
    while not done.is_set():
        for newest in CheckpointStore(tmp_path, "t").newest_first():
            try:
                found = {(newest.folder / name).read_text() for name in ("a", "b")}
            except FileNotFoundError:  # two newer ones came meanwhile
                continue
            assert found == {str(int(newest.metrics["epoch"]))}
            seen.add(newest.metrics["epoch"])
            break
    thread.join()
    assert seen
    shutil.rmtree(tmp_path / "checkpoints")
