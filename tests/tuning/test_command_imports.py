"""What a person waits for: `--help` and `status` import neither torch, Ray nor pandas."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tuning.searches import make_space, report
from tuning.__main__ import _parser
from tuning.ledger.events import Closed, Opened, Proposed, Report, Started
from tuning.ledger.folders import write_experiment
from tuning.ledger.ledger import Ledger
from tuning.search.sessions import reference_metrics
from tuning.spaces.loading import load_space
from tuning.spaces.sections import Objective
from tuning.spaces.space import SearchSpace

ROOT = Path(__file__).parents[2]
SLOW = {
    *("torch", "ray", "pandas", "matplotlib", "optuna", "compressai", "torchvision", "scipy"),
    *("numpy", "PIL", "aiohttp", "wandb"),
}
PROGRAM = """
import contextlib, os, sys
with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
    try:
        {run}
    except SystemExit as end:
        assert end.code == 0, end.code
print(*{slow} & set(sys.modules))
"""
TUNE = "import tune; sys.argv = ['tune.py', '--help']; assert tune.run() == 0"
COMMAND = "from tuning.__main__ import main; assert main({words}) == 0"
(COMMANDS,) = [action.choices for action in _parser()._actions if action.choices]
HELPS = [["--help"], *([name, "--help"] for name in COMMANDS)]


def imported(run: str) -> set[str]:
    """Which of the slow packages a fresh process has after ``run``, Python code."""
    command = [sys.executable, "-c", PROGRAM.format(run=run, slow=SLOW)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "run",
    [TUNE, *(COMMAND.format(words=words) for words in HELPS)],
    ids=["tune.py", *map(str, HELPS)],
)
def test_help_imports_nothing_slow(run: str) -> None:
    assert imported(run) == set()


@pytest.mark.parametrize("kind", ["one metric", "no lmbda", "phase3"])
def test_status_imports_nothing_slow(tmp_path: Path, kind: str) -> None:
    """No torch either: the space was checked when the search began."""
    space = load_space("phase3", "laptop") if kind == "phase3" else make_space(tmp_path)
    if kind == "no lmbda":
        space = replace(space, objective=Objective(metric="delta_rate"))
    write_ended(tmp_path / "quick-1", space)
    words = ["status", "last", "--storage", str(tmp_path)]
    assert imported(COMMAND.format(words=words)) <= {"numpy"}


def write_ended(directory: Path, space: SearchSpace) -> None:
    """An experiment of the prior and the reference runs, broken off."""
    write_experiment(directory, space)
    ledger = Ledger(directory)
    ledger.open()
    opened = Opened(experiment=directory.name, digest=space.digest, **reference_metrics(space))
    ledger.append(opened)
    lmbdas = (None, *space.reference_lmbdas())
    for number, lmbda in enumerate(lmbdas):
        params = space.prior() if lmbda is None else space.reference_params(lmbda)
        source = "prior" if lmbda is None else "reference"
        ledger.append(Proposed(number, params=params, source=source, lmbda=lmbda))
        ledger.append(Started(number, ray_id=f"r{number}"))
        ledger.append(Report(number, metrics=report(1, 1.0 + (lmbda or 0))))
    ledger.append(Closed(interrupted=True))
    ledger.close()
