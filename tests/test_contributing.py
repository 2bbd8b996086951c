"""CONTRIBUTING.md is followed to the letter: its two parts pass every test that runs over parts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()

# Every module whose tests are parametrised over a dict of parts.
SUITES = [
    "tests/numerics/test_optimizers.py",
    "tests/numerics/test_balancers.py",
    "tests/hpcm/optimizers",
    "tests/hpcm/training/test_resume.py",
    "tests/hpcm/test_every_field.py",
    "tests/hpcm/test_schedule_command.py",
]


def blocks() -> list[str]:
    """The Python files that it shows."""
    return re.findall(r"^```python\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """A module of the two files and, as the text says, a line for each."""
    optimizer, balancer = blocks()
    lines = [
        "import hpcm",
        "from own_optimizer import Signum",
        "from own_balancer import Geometric",
        "",
        'hpcm.register("optimizer", "signum", Signum)',
        'hpcm.register("balancer", "geometric", Geometric)',
    ]
    for name, text in {
        "own_optimizer": optimizer,
        "own_balancer": balancer,
        "own_parts": "\n".join(lines) + "\n",
    }.items():
        (tmp_path / f"{name}.py").write_text(text)
    return tmp_path


@pytest.mark.timeout(600)
def test_the_parts_it_shows_pass_every_test_that_runs_over_parts(parts: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "own_parts", *SUITES]
    run = subprocess.run(
        [*command, "-k", "signum or geometric", "-p", "no:cacheprovider", "-rf"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(parts)},
    )
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
    passed = int(re.findall(r"(\d+) passed", run.stdout)[0])
    assert passed >= 30, run.stdout[-500:]


def test_they_pass_the_lint(parts: Path) -> None:
    config = ["--config", str(ROOT / "pyproject.toml"), "--no-cache"]
    for words in (["check"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *words, *config, "own_optimizer.py"]
        run = subprocess.run([*command, "own_balancer.py"], cwd=parts, capture_output=True)
        assert run.returncode == 0, run.stdout.decode()


def test_every_dict_it_names_is_where_it_says() -> None:
    rows = re.findall(r"`(\w+)`(?: or `(\w+)`)?, `(hpcm/[\w/]+\.py)`", TEXT)
    assert len(rows) >= 6
    for *names, path in rows:
        for name in filter(None, names):
            assert re.search(rf"^{name}: ", (ROOT / path).read_text(), re.MULTILINE), name


def test_it_names_every_kind_of_part() -> None:
    from hpcm.parts import KINDS

    (sentence,) = re.findall(r"The kinds are (.*?)\.$", TEXT, re.DOTALL | re.MULTILINE)
    named = re.findall(r"`(\w+)`", sentence)
    assert len(named) >= 9
    assert list(KINDS)[: len(named)] == named  # those of a package above follow
