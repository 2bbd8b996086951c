"""The disk of the experiments fills up in the middle of a search."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.drills.fake_training import checkpoints
from tests.drills.loss import check_nothing_else_lost
from tests.drills.search import RATES, Search
from tests.drills.twin import follow

pytestmark = [pytest.mark.ray, pytest.mark.cluster, pytest.mark.timeout(200)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Eight megabytes of their own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_the_disk_fills_up(
    small_disk: Path, search: Callable[..., Search], lost: Callable[[str], None]
) -> None:
    found = search(RATES[:3])
    found.storage.symlink_to(small_disk)
    found.start(seconds=0.3)
    found.wait_for(found.between_checkpoints)
    with (small_disk / "ballast").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    assert found.finish(90) == 1
    assert "No space left on device" in found.said()
    before = found.trials()
    assert [t.state for t in before if t.state == "failed"] == []
    saved = {
        rate: int(checkpoints(found.folder, rate)[-1].name.removeprefix("epoch-"))
        for rate in RATES[:3]
        if checkpoints(found.folder, rate)
    }
    (small_disk / "ballast").unlink()
    found.resume()
    assert found.finish() == 0
    after = found.trials()
    epochs = check_nothing_else_lost(before, after, found.trained(), found.space().rungs(), saved)
    follow(found.events(), found.space())
    assert all(trial.state != "failed" for trial in after)
    lost(f"{epochs} epochs; it broke off with exit 1, --resume went on once there was room")
