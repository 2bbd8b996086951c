"""`deploy/supervise.sh`: a command that breaks off is started again, and only that."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "deploy" / "supervise.sh"
#: A search that ends as the next line of `codes` says: an exit code, "killed", or "waits".
SEARCH = """
import os, signal, sys, time
first, *rest = open("codes").read().split()
open("codes", "w").write(" ".join(rest))
open("starts", "a").write(" ".join(sys.argv[1:]) + "\\n")
if first == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if first == "waits":
    def saved(*_):
        open("saved", "w").close()
        sys.exit(130)
    signal.signal(signal.SIGTERM, saved)
    open("ready", "w").close()
    time.sleep(60)
sys.exit(int(first))
"""


@pytest.fixture
def supervise(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    (tmp_path / "search.py").write_text(SEARCH)

    def start(codes: str, seconds: int = 0, tries: int = 5) -> subprocess.Popen[str]:
        (tmp_path / "codes").write_text(codes)
        command = [str(SCRIPT), sys.executable, "search.py", "--space", "phase 3"]
        limits = {"HPCM_RETRY_SECONDS": str(seconds), "HPCM_RETRIES": str(tries)}
        return subprocess.Popen(
            command,
            cwd=tmp_path,
            env={**os.environ, **limits},
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    return start


def starts(folder: Path) -> list[str]:
    return (folder / "starts").read_text().splitlines()


@pytest.mark.parametrize(
    ("codes", "code", "count"),
    [
        ("0", 0, 1),
        ("2", 2, 1),  # a flag to mend: another start would say the same
        ("130", 130, 1),
        ("1 killed 134 0", 0, 4),
        ("1 2", 2, 2),
    ],
)
def test_what_is_started_again(
    supervise: Callable[..., subprocess.Popen[str]],
    tmp_path: Path,
    codes: str,
    code: int,
    count: int,
) -> None:
    process = supervise(codes)
    _, found = process.communicate(timeout=60)
    assert process.returncode == code
    assert starts(tmp_path) == ["--space phase 3"] * count
    assert found.count("starting again in 0 s") == count - 1


def test_a_search_that_never_lasts_is_given_up(
    supervise: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = supervise("1 1 1 1 1", seconds=1, tries=2)
    _, found = process.communicate(timeout=60)
    assert process.returncode == 1
    assert len(starts(tmp_path)) == 3
    assert [line.split()[-2] for line in found.splitlines()[:2]] == ["1", "2"]  # it backs off
    assert "broke off 3 times in a row, last with exit code 1" in found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_is_handed_on_and_ends_it(
    supervise: Callable[..., subprocess.Popen[str]], tmp_path: Path, number: int
) -> None:
    process = supervise("waits 0")
    while not (tmp_path / "ready").exists():
        time.sleep(0.01)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert (tmp_path / "saved").exists()
    assert len(starts(tmp_path)) == 1


def test_a_signal_between_two_starts_ends_it(
    supervise: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = supervise("1 0", seconds=60)
    assert process.stderr is not None
    assert "starting again in 60 s" in process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 1
    assert len(starts(tmp_path)) == 1
