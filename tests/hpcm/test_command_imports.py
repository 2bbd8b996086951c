"""What a command may import: what it needs, since importing torch takes seconds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hpcm.commands.flags import COMMANDS

ROOT = Path(__file__).parents[2]
SLOW = {
    *("torch", "numpy", "scipy", "pandas", "PIL", "pydantic", "yaml", "matplotlib", "rich"),
    *("pyarrow", "compressai", "torchvision", "ray", "optuna", "wandb", "tuning"),
}
FILES = {"numpy", "PIL", "pydantic"}
#: Command lines, and which of the slow packages they may import.
MAY_IMPORT: list[tuple[tuple[str, ...], set[str]]] = [
    (("--help", "", "tune", "evaluate --help", "data --help", "schedule --help"), set()),
    (tuple(f"{name} --help" for name in COMMANDS), FILES),
    (("data sample",), FILES),
    (
        ("compare results/kodak/hm.json results/kodak/vtm_18.0.json",),
        FILES | {"scipy", "matplotlib"},
    ),
]
PROGRAM = """
import contextlib, os, sys
from hpcm.__main__ import main
for line in {lines}:
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        try:
            code = main(line.split())
        except SystemExit as end:
            code = end.code
    assert code == (2 if line in ("", "tune") else 0), (line, code)
print(*{slow} & set(sys.modules))
"""


@pytest.mark.parametrize(("lines", "allowed"), MAY_IMPORT)
def test_a_command_imports_what_it_needs(lines: tuple[str, ...], allowed: set[str]) -> None:
    program = PROGRAM.format(lines=lines, slow=SLOW)
    command = [sys.executable, "-W", "error", "-c", program]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert set(run.stdout.split()) <= allowed
