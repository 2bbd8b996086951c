"""CONTRIBUTING.md is followed to the letter: its parts pass every test that runs over parts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from hpcm import import_parts
from tests.own_parts import as_before
from tests.tuning.simulation.test_simulate import Curves, space_of
from tuning import simulate

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
    "tests/tuning/search/test_killed_schedulers.py",
    "tests/tuning/search/test_samplers.py",
]
#: What it shows, in its order: the kind, the name and the class of each.
SHOWN = (
    ("optimizer", "signum", "Signum"),
    ("balancer", "geometric", "Geometric"),
    ("scheduler", "better_half", "BetterHalf"),
    ("searcher", "halton", "Halton"),
)


def blocks() -> list[str]:
    """The Python files that it shows."""
    return re.findall(r"^```python\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """A module of each file, and one that adds them: as the text says, a line for each."""
    lines = ["import hpcm"]
    for (kind, name, cls), text in zip(SHOWN, blocks(), strict=True):
        (tmp_path / f"own_{kind}.py").write_text(text)
        lines += [f"from own_{kind} import {cls}", f'hpcm.register("{kind}", "{name}", {cls})']
    (tmp_path / "own_parts.py").write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.mark.timeout(600)
def test_the_parts_it_shows_pass_every_test_that_runs_over_parts(parts: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "own_parts", *SUITES]
    run = subprocess.run(
        [*command, "-k", " or ".join(name for _, name, _ in SHOWN), "-p", "no:cacheprovider"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(parts)},
    )
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
    passed = int(re.findall(r"(\d+) passed", run.stdout)[0])
    assert passed >= 40, run.stdout[-500:]


def test_the_scheduler_and_the_searcher_it_shows_run_a_search(
    parts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(parts)
    with as_before():
        import_parts([parts / "own_parts.py"])
        how = {"searcher": {"name": "halton"}, "budget": {"trials": 12}}
        space = space_of(parts, "better_half", **how)
        result = simulate(space, Curves(), slots=2)
    assert result.complete
    assert len(result.trials) == 12
    assert {trial.source for trial in result.trials} == {"prior", "halton"}
    stopped = [trial for trial in result.trials if trial.state == "stopped"]
    assert len(stopped) > 3
    assert all(trial.rung_stopped_at in range(1, 9) for trial in stopped)


@pytest.mark.parametrize(
    ("config", "kinds"),
    [
        ("pyproject.toml", ("optimizer", "balancer")),
        ("tuning/ruff.toml", ("scheduler", "searcher")),
    ],
)
def test_they_pass_the_lint(config: str, kinds: Sequence[str], parts: Path) -> None:
    files = [f"own_{kind}.py" for kind in kinds]
    for words in (["check"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *words, "--no-cache", "--config"]
        run = subprocess.run([*command, str(ROOT / config), *files], cwd=parts, capture_output=True)
        assert run.returncode == 0, run.stdout.decode()


def test_every_dict_it_names_is_where_it_says() -> None:
    rows = re.findall(r"`(\w+)`(?: or `(\w+)`)?, `((?:hpcm|tuning)/[\w/]+\.py)`", TEXT)
    assert len(rows) >= 8
    for *names, path in rows:
        for name in filter(None, names):
            assert re.search(rf"^{name}(: | = )", (ROOT / path).read_text(), re.MULTILINE), name


def test_it_names_every_kind_of_part() -> None:
    import tuning.spaces.sections  # noqa: F401  # adds its kinds
    from hpcm.parts import KINDS

    (sentence,) = re.findall(r"The kinds are (.*?)\.$", TEXT, re.DOTALL | re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", sentence)) == sorted(KINDS)
