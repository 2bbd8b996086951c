"""Mutated files: an error or the image that was coded; never a crash, never another image.

In a process of its own, every stream against memory that cannot be read (benchmarks/fuzz_codec.py).
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.fuzz_codec import REASONS

PROGRAM = """
import json, sys
from benchmarks.fuzz_codec import fuzz
from benchmarks.guarded_coder import guarded
from hpcm.model import build_model
from hpcm.model.file_codec import FileCodec
from tests.reference.fill_weights import fill_model
model = fill_model(build_model("hpcm_tiny"), seed=4)
with guarded():
    outcome = fuzz(FileCodec(model, "hpcm_tiny"), inputs=int(sys.argv[1]), seed=1)
print(json.dumps(vars(outcome)))
"""


@pytest.mark.parametrize("count", [200, pytest.param(10_000, marks=pytest.mark.slow)])
def test_mutated_files(count: int) -> None:
    command = [sys.executable, "-X", "faulthandler", "-c", PROGRAM, str(count)]
    root = Path(__file__).parents[3]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    outcome = json.loads(done.stdout)
    assert (outcome["wrong_image"], outcome["crashes"]) == ([], [])
    counts = [outcome[kind] for kind in ("refused", "same_image", "forged_image")]
    assert sum(sum(kinds.values()) for kinds in counts) == count
    assert set(outcome["refused"]) <= set(REASONS)
    assert len(outcome["refused"]) > 15
    assert {name.split()[0] for name in outcome["forged_image"]} >= {"overwrite", "flip_stream"}
