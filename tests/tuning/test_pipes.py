"""`python -m tuning status | head`: pipes that close early, and the width that `COLUMNS` says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tuning.served import served

ROOT = Path(__file__).parents[2]


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """An experiment in a folder of all."""
    with served(tmp_path):
        pass
    return tmp_path / "storage"


def piped(
    words: list[str], storage: Path, reader: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """``python -m tuning WORDS | READER`` in bash, its stdout the reader's; rc the command's."""
    command = [sys.executable, "-m", "tuning", *words, "last", "--storage", str(storage)]
    script = f'"$@" | {reader}; exit "${{PIPESTATUS[0]}}"'
    return subprocess.run(
        ["bash", "-c", script, "bash", *command],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("reader", ["head -n 1", "true"])
@pytest.mark.parametrize("command", ["status", "trials"])
def test_a_reader_that_has_seen_enough_is_no_error(
    storage: Path, command: str, reader: str
) -> None:
    run = piped([command], storage, reader)
    assert (run.returncode, run.stderr) == (0, "")


def test_columns_count_in_a_pipe_too(storage: Path) -> None:
    for columns in ("100", "132"):
        run = piped(["status"], storage, "cat", COLUMNS=columns)
        rules = {len(line) for line in run.stdout.splitlines() if "──" in line}
        assert rules == {int(columns)}, run.stderr
