"""The pinned packages, and the make targets that install them."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import pytest_xdist_make_scheduler

ROOT = Path(__file__).parents[1]


def pins() -> dict[str, str]:
    """Name to version in constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    rows = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(row.name): str(row.specifier).removeprefix("==") for row in rows}


def required(group: str = "dev") -> set[str]:
    """Every distribution that `pip install .[group]` brings on this interpreter."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    todo = [Requirement(text) for text in (*project["dependencies"], *optional[group])]
    seen: set[tuple[str, frozenset[str]]] = set()
    while todo:
        row = todo.pop()
        name, extras = canonicalize_name(row.name), frozenset(row.extras)
        if name == "hpcm-tune":
            todo += [Requirement(text) for extra in extras for text in optional[extra]]
            continue
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        for text in importlib.metadata.distribution(name).requires or []:
            child = Requirement(text)
            names = [{"extra": extra} for extra in (*extras, "")]
            if child.marker is None or any(child.marker.evaluate(extra) for extra in names):
                todo.append(child)
    return {name for name, _ in seen}


# What `ray up` needs on AWS is pinned, and installed on clusters only.
AWS_ONLY = {"boto3", "botocore", "jmespath", "s3transfer"}


def test_constraints_pin_everything_that_is_installed_and_nothing_else() -> None:
    pinned = pins()
    assert sorted(required() | AWS_ONLY) == sorted(pinned)
    installed = {name: importlib.metadata.version(name) for name in pinned.keys() - AWS_ONLY}
    assert {name: v for name, v in installed.items() if v.split("+")[0] != pinned[name]} == {}


def test_every_pin_is_inside_the_range_of_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = project["optional-dependencies"].values()
    for text in (*project["dependencies"], *(row for group in groups for row in group)):
        row = Requirement(text)
        version = pins().get(canonicalize_name(row.name))
        if row.name != "hpcm-tune":
            assert version, f"{row.name} is not in constraints.txt"
            assert row.specifier.contains(version), f"{text}, but constraints.txt has {version}"


@pytest.mark.parametrize("target", ["tune", "test", "lint", "types", "clean", "install"])
def test_make_help_lists(target: str) -> None:
    run = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert re.search(rf"^  make {target}\s+\S", run.stdout, re.MULTILINE)


@pytest.mark.parametrize("version", ["(3, 10)", "(3, 13)"])
def test_make_refuses_another_python_in_one_line(tmp_path: Path, version: str) -> None:
    """A stand-in interpreter that reports another version: one line, nothing created."""
    for name in ("Makefile", "constraints.txt", "pyproject.toml"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    other = tmp_path / "python3"
    other.write_text(
        f'#!/bin/sh\nexec {sys.executable} -c "import sys; sys.version_info = {version}; $2"\n'
    )
    other.chmod(0o755)
    command = ["make", "-s", "install", f"BASE_PYTHON={other}"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode != 0
    lines = [line for line in run.stderr.splitlines() if not line.startswith("make")]
    assert len(lines) == 1
    assert "needs Python 3.11 or 3.12" in lines[0]
    assert not (tmp_path / ".venv").exists()


def test_files_stay_together() -> None:
    """Among two processes of tests: a file in one, and all files that start Ray in one."""
    option = SimpleNamespace(loadscopereorder=True)
    config: Any = SimpleNamespace(option=option, getvalue=lambda name: ["popen", "popen"])
    scope = pytest_xdist_make_scheduler(config, None)._split_scope
    assert not option.loadscopereorder
    rays = {
        scope(f"tests/tuning/{file}::test_any")
        for file in ("on_ray/test_experiment.py", "page/test_watched_search.py")
    }
    assert len(rays) == 1
    others = ["tests/e2e/test_readme.py", "tests/test_environment.py"]
    assert [scope(f"{file}::test_any[a::b]") for file in others] == others
