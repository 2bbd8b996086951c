"""The house rules that a machine can check; CONTRIBUTING.md and docs/architecture.md say why."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
SKIPPED_FOLDERS = {".venv", ".git", "build", "dist", "wandb", "__pycache__"}


def shipped() -> list[Path]:
    """What git has or would take, else (an unpacked archive) every file here; relative to ROOT."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode == 0:
        paths = [Path(line) for line in listing.stdout.splitlines()]
    else:
        paths = [path.relative_to(ROOT) for path in ROOT.rglob("*")]
    return sorted(
        path for path in paths if (ROOT / path).is_file() and not SKIPPED_FOLDERS & set(path.parts)
    )


SHIPPED = shipped()
PYTHON = [path for path in SHIPPED if path.suffix == ".py"]


@cache
def imports(path: Path) -> tuple[str, ...]:
    """Dotted names that a file imports, at whatever depth of its code."""
    found: list[str] = []
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            found += (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += (f"{node.module}.{name.name}" for name in node.names)
    return tuple(found)


# --- who may import whom -------------------------------------------------------------------------

FOREIGN = {"ray", "optuna", "wandb", "compressai", "torchvision", "tuning"}
# In a function, when it is asked for.
MAY_IMPORT = {"hpcm/model/bitstream.py": "compressai", "hpcm/commands/loggers.py": "wandb"}
# A part may import the parts to the left of it; but an optimizer never sees a model.
LAYERS = [
    "choices defaults full_precision ranks streams torchrun",
    "schema",
    "schedules files extra_packages",
    "yaml_files atomic_files",
    "checkpoints",
    "model losses",
    "optimizers",
    "config parts",
    "config_page evaluation",
    "training",
]
LAYER = {part: level for level, parts in enumerate(LAYERS) for part in parts.split()}


# A room of tuning may import the rooms above it, never one beside it or below.
ROOMS = [
    "spaces",
    "ledger",
    "results",
    "search checkpoints",
    "watching page",
    "on_ray simulation",
    "flags watch",
    "cli ladders",
    "__main__",
]
ROOM = {room: level for level, rooms in enumerate(ROOMS) for room in rooms.split()}
TUNING = [p for p in PYTHON if p.parts[0] == "tuning" and p != Path("tuning/__init__.py")]
#: Who may import what of others.
GUESTS = {"ray": "on_ray", "optuna": "search watching", "wandb": "watching"}


def room_of(path: Path) -> str:
    return path.parts[1] if len(path.parts) > 2 else path.stem


@pytest.mark.parametrize("path", TUNING, ids=str)
def test_no_import_of_tuning_runs_back_up(path: Path) -> None:
    own = room_of(path)
    for name in imports(path):
        top, _, rest = name.partition(".")
        if top in GUESTS:
            assert own in GUESTS[top].split(), f"{path} imports {name}"
        part = rest.split(".")[0]
        if top == "tuning" and part in ROOM:
            allowed = part == own or ROOM[part] < ROOM[own]
            assert allowed, f"{path} imports {name}, which stands below it in {ROOMS}"


def test_the_rooms_of_tuning_are_these() -> None:
    """A new room has a line in the order."""
    assert {room_of(path) for path in TUNING} == set(ROOM)


def test_no_modules_of_tuning_import_each_other_in_a_circle() -> None:
    """Nor for their types alone. A package's `__init__` fetches its names when they are used."""
    files = [path for path in TUNING if path.name != "__init__.py"]
    modules = {".".join(path.with_suffix("").parts): path for path in files}
    graph: dict[str, set[str]] = {}
    for module, path in modules.items():
        found = [f"{name}." for name in imports(path)]
        graph[module] = {one for one in modules if any(n.startswith(f"{one}.") for n in found)}
    assert list(TopologicalSorter(graph).static_order())  # a CycleError names the modules


def test_the_events_of_a_ledger_are_tabled() -> None:
    """docs/architecture.md has the table that the classes make."""
    from tuning.ledger.events import table

    assert "\n".join(table()) in (ROOT / "docs/architecture.md").read_text()


@pytest.mark.parametrize("name", sorted(FOREIGN))
def test_a_stray_import_in_hpcm_fails_the_lint_with_our_message(name: str) -> None:
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    message = rules["flake8-tidy-imports"]["banned-api"][name]["msg"]
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--stdin-filename"]
    for place, stray in (("hpcm/training/loop.py", True), ("tuning/on_ray/experiment.py", False)):
        source = f'"""Stray."""\n\nimport {name}\n\nprint({name})\n'
        run = subprocess.run(
            [*command, place, "-"], cwd=ROOT, input=source, capture_output=True, text=True
        )
        assert ("TID251" in run.stdout and message in run.stdout) is stray, run.stdout + run.stderr


@pytest.mark.parametrize("path", [p for p in PYTHON if p.parts[0] == "hpcm"], ids=str)
def test_imports_inside_hpcm_go_from_right_to_left(path: Path) -> None:
    own = path.stem if len(path.parts) == 2 else path.parts[1]
    for name in imports(path):
        top, _, rest = name.partition(".")
        assert top not in FOREIGN or MAY_IMPORT.get(str(path)) == top, f"{path} imports {name}"
        part = rest.split(".")[0]
        if top != "hpcm" or own not in LAYER:  # __init__ and __main__ see everything
            continue
        assert part in LAYER, f"{path} imports {name}: import the part that defines it"
        allowed = part == own or LAYER[part] < LAYER[own]
        allowed = allowed and (own, part) != ("optimizers", "model")
        assert allowed, f"{path} imports {name}, which stands to its right in {LAYERS}"


@pytest.mark.parametrize("path", [p for p in PYTHON if p.parts[0] == "tuning"], ids=str)
def test_tuning_reaches_hpcm_through_its_front_door(path: Path) -> None:
    inside = {"model", "training", "optimizers", "losses", "schedules"}
    for name in imports(path):
        top, *rest = name.split(".")
        assert top != "hpcm" or not inside & set(rest[:1]), f"{path} imports {name}"


def test_one_loop_and_one_report() -> None:
    """One training loop, and one place that reports to Tune."""
    code = {path: (ROOT / path).read_text() for path in PYTHON}
    library = {
        p: text for p, text in code.items() if p.parts[0] == "hpcm" and "commands" not in p.parts
    }
    loops = [str(p) for p, text in library.items() if "for epoch in" in text]
    assert loops == ["hpcm/training/loop.py"]
    reports = [
        str(p) for p, text in code.items() if p.parts[0] == "tuning" and "tune.report(" in text
    ]
    assert reports == ["tuning/on_ray/trainable.py"]


# --- files ---------------------------------------------------------------------------------------


def test_no_dumping_ground() -> None:
    """A file is named after the noun it serves (docs/architecture.md)."""
    dumps = {"utils", "util", "helpers", "helper", "common", "misc"}
    assert [str(path) for path in SHIPPED if dumps & {part.lower() for part in path.parts}] == []
    assert [str(path) for path in SHIPPED if path.stem.lower() in dumps] == []


def test_no_long_file() -> None:
    """About 300 lines; the data of a table may run a little over."""
    lines = {str(path): len((ROOT / path).read_text().splitlines()) for path in PYTHON}
    assert {path: count for path, count in lines.items() if count > 320} == {}


def test_a_condition_is_an_if() -> None:
    """CONTRIBUTING.md, Style: "Raises OSError where the disk is full" says if."""
    condition = re.compile(r'\b(?:Raises?|None|nothing|empty)\b[^.;:()=\[\]{}"]*[^`]\bwhere\b')
    code = [path for path in PYTHON if path.parts[0] in {"hpcm", "tuning", "benchmarks"}]
    found = [
        f"{path}: {paragraph.strip()}"
        for path in code
        for paragraph in (ROOT / path).read_text().replace(":class:", "").split("\n\n")
        if condition.search(paragraph)
    ]
    assert found == []


def test_no_registry_host_and_no_machine_path() -> None:
    """What works for one of us only: registries are the reader's own, paths are relative."""
    host = re.compile(r"(pypi|pythonhosted|npmjs|download\.pytorch|debian)\.(org|com)")
    machine = re.compile(r"(?<![\w.~})-])/(work|farm|root|Users)/|/home/(?!ubuntu|ray)\w")
    found = []
    for path in SHIPPED:
        try:
            text = (ROOT / path).read_text()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if path != Path("tests/test_house.py") and (host.search(line) or machine.search(line)):
                found.append(f"{path}:{number}: {line.strip()[:80]}")
    assert found == []


@pytest.mark.parametrize(
    "path", [path for path in SHIPPED if path.suffix in (".yaml", ".yml")], ids=str
)
def test_every_shipped_yaml_is_loaded(path: Path) -> None:
    """By what reads it in use; a YAML in a new place needs a line here."""
    if path.parts[0] in ("search_spaces", "examples", "hpcm", "results", "studies"):
        from hpcm import TrainConfig
        from tuning import load_space
    if path.match("search_spaces/best/*.yaml") or path.parts[0] in ("hpcm", "results"):
        config = TrainConfig.from_yaml(ROOT / path)
        assert TrainConfig.from_plain(config.to_plain(), "again") == config
    elif path.parts[0] in ("search_spaces", "examples", "studies"):
        for profile in load_space(str(ROOT / path)).profiles:
            space = load_space(str(ROOT / path), profile=profile)
            assert isinstance(space.config(space.prior()), TrainConfig)
    elif path == Path("cluster.yaml") or path.parent == Path("deploy"):
        documents = list(yaml.safe_load_all((ROOT / path).read_text()))
        checks = (ROOT / "tests/tuning/on_ray/test_cluster_yaml.py").read_text()
        assert documents
        assert path.name in checks, f"no test in test_cluster_yaml.py names {path.name}"
    else:
        assert path.parts[0] in (".github", ".pre-commit-config.yaml"), f"{path}: who loads it?"
        assert yaml.safe_load((ROOT / path).read_text())


@pytest.mark.parametrize(
    "name",
    [
        ".ci/run",
        "deploy/search.sh",
        "deploy/supervise.sh",
        "deploy/node_env.sh",
        "benchmarks/on_gpu.sh",
    ],
)
def test_shell_scripts_parse(name: str) -> None:
    run = subprocess.run(["bash", "-n", str(ROOT / name)], capture_output=True, text=True)
    assert run.stderr == ""


def test_readme_opens_with_the_two_commands() -> None:
    first_screen = (ROOT / "README.md").read_text().splitlines()[:40]
    assert any("make tune" in line for line in first_screen)
    assert any("make test" in line for line in first_screen)
