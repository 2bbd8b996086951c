"""Files that are replaced as a whole, and what is known of them without reading them again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch

from hpcm.atomic_files import Contents, replacing, write_atomically


def test_a_replaced_file_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_atomically(path, b"1")
    path.with_name("x.json.partial").write_text("[2")  # a write that was cut short
    write_atomically(path, b"[2]")
    assert json.loads(path.read_text()) == [2]
    assert list(tmp_path.iterdir()) == [path]


def test_what_breaks_leaves_the_file_of_before_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_atomically(path, b"1")

    def write() -> None:
        with replacing(path) as file:
            file.write(b"[2")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write()
    assert path.read_bytes() == b"1"
    assert list(tmp_path.iterdir()) == [path]


def test_contents_are_known_from_the_writing(tmp_path: Path) -> None:
    content = bytes(range(256)) * 40
    path = tmp_path / "x"
    write_atomically(path, content)
    assert Contents.of(path) == Contents(10240, hashlib.sha256(content).hexdigest())
    with replacing(path) as file:
        for start in range(0, len(content), 999):
            file.write(memoryview(content)[start : start + 999])
    assert file.contents == Contents.of(path) == Contents(10240, file.contents.sha256)


def test_torch_writes_through_it(tmp_path: Path) -> None:
    state = {"w": torch.arange(70_000, dtype=torch.float32), "steps": 3}
    with replacing(tmp_path / "x.pt") as file:
        torch.save(state, file)
    assert file.contents == Contents.of(tmp_path / "x.pt")
    found = torch.load(tmp_path / "x.pt", weights_only=True)
    assert torch.equal(found["w"], state["w"])
    assert found["steps"] == 3
