"""A step's freed memory is kept, counted in page faults of a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hpcm import TrainConfig
from hpcm.training import run
from tests.toy_codec import ToyCodec

ROOT = Path(__file__).parents[3]
PROGRAM = """
import resource, sys
from hpcm.training.allocator import keep_freed_memory
kept = sys.argv[1] == "keep" and keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytearray(64 << 20)[::4096] = b"1" * (16 << 10)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(kept, [faults() for _ in range(4)][-1])
"""


def counted(how: str, **variables: str) -> tuple[str, int]:
    environment = {name: value for name, value in os.environ.items() if "MALLOC" not in name}
    command = [sys.executable, "-c", PROGRAM, how]
    ended = subprocess.run(
        command, cwd=ROOT, env={**environment, **variables}, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    kept, faults = ended.stdout.split()
    return kept, int(faults)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a matter of glibc")
def test_the_pages_of_a_freed_buffer_are_used_again() -> None:
    kept, fewer = counted("keep")
    assert kept == "True"
    assert counted("leave")[1] > 10_000 > 1_000 > fewer


def test_what_the_environment_says_of_the_allocator_stays() -> None:
    assert counted("keep", MALLOC_TRIM_THRESHOLD_="131072")[0] == "False"


def test_a_training_on_a_cpu_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(run, "keep_freed_memory", lambda: asked.append(True))
    run.Run.build(TrainConfig(), ToyCodec(), "meta")
    assert asked == []
    run.Run.build(TrainConfig(), ToyCodec(), "cpu")
    assert asked == [True]
