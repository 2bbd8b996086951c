"""Files that are replaced as a whole."""

from __future__ import annotations

import json
from pathlib import Path

from tuning.ledger.atomic_files import write_atomically


def test_a_replaced_file_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_atomically(path, b"1")
    path.with_name("x.json.partial").write_text("[2")  # a write that was cut short
    write_atomically(path, b"[2]")
    assert json.loads(path.read_text()) == [2]
    assert list(tmp_path.iterdir()) == [path]
