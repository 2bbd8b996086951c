"""What is used of Ray beyond its documentation: all of it is there, and it is in one file."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

import tuning
from tests.tuning.on_ray.broken_trials import LOST, Staging, as_ray_says
from tuning.on_ray import private_api
from tuning.on_ray.private_api import CONTROLLER, ENVIRONMENT, MANAGER, PRIVATE, RAY_VERSION

TUNING = Path(tuning.__file__).parent
OWN = Path(private_api.__file__)
FILES = sorted(path for path in TUNING.rglob("*.py") if path != OWN)
OF_PYTHON = {"os._exit"}


def found(name: str, instances: dict[str, Any]) -> Any:
    """What a dotted name of Ray stands for; of some classes an instance has what they have not."""
    owner, _, last = name.rpartition(".")
    if owner in instances:
        return getattr(instances[owner], last)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return getattr(found(owner, instances), last)


def test_it_was_written_for_the_ray_that_is_installed() -> None:
    assert ray.__version__ == RAY_VERSION
    assert f"checked with Ray {RAY_VERSION}" in (private_api.__doc__ or "")


@pytest.mark.parametrize("name", sorted(PRIVATE))
def test_every_private_name_is_there(name: str, staging: Staging) -> None:
    controller = staging.controller
    instances = {
        CONTROLLER: controller,
        MANAGER: controller._actor_manager,
        "ray.exceptions.RayTaskError": as_ray_says(ValueError("x")),
    }
    found(name, instances)
    assert PRIVATE[name]


def test_a_name_that_is_gone_would_be_seen(staging: Staging) -> None:
    with pytest.raises(AttributeError):
        found(f"{CONTROLLER}._no_such_thing", {CONTROLLER: staging.controller})
    with pytest.raises(AttributeError):
        found("ray._private.services.no_such_thing", {})


def test_every_private_name_that_is_used_is_listed() -> None:
    listed = {part for name in PRIVATE for part in name.split(".")}
    used = {node.attr for node in private_attributes(OWN)} | {
        part for name in private_imports(OWN) for part in name.split(".")
    }
    assert used <= listed


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(TUNING)))
def test_no_other_file_uses_any(path: Path) -> None:
    assert list(private_imports(path)) == []
    if path.parent == OWN.parent:  # the room of Ray
        used = {ast.unparse(node) for node in private_attributes(path)}
        assert used <= OF_PYTHON
    text = path.read_text()
    for name in ("ray._private", "autoscaler._private", "execution._internal", "controller._"):
        assert name not in text


def test_rays_variables_are_those_that_it_reads() -> None:
    """Of most Ray has the whole name; C++ adds the first word to those that begin with RAY_."""
    root = Path(ray.__file__).parent
    sources = [
        root / "train/constants.py",
        root / "tune/tune.py",
        root / "tune/execution/tune_controller.py",
    ]
    text = "".join(path.read_text() for path in sources)
    library = (root / "_raylet.so").read_bytes()
    for name in ENVIRONMENT:
        assert name in text or name.removeprefix("RAY_").encode() in library, name


def test_a_reclaimed_node_is_no_reason_for_ray_to_start_a_trial_again(
    staging: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its variable Ray does, with ``max_failures=0``; the search would, too."""
    preempted = type(LOST)(error_msg="its node was preempted", preempted=True)
    trial = staging.run(1)
    trial.handle_error(preempted)
    assert not trial.should_recover()
    monkeypatch.delenv("RAY_TRAIN_COUNT_PREEMPTION_AS_FAILURE")
    other = staging.run(2)
    other.handle_error(preempted)
    assert other.should_recover()


def private_attributes(path: Path) -> Iterator[ast.Attribute]:
    """Attributes with an underscore of anything but the object itself."""
    for node in ast.walk(ast.parse(path.read_text())):
        if (
            isinstance(node, ast.Attribute)
            and node.attr.startswith("_")
            and not node.attr.startswith("__")
            and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
        ):
            yield node


def private_imports(path: Path) -> Iterator[str]:
    """Names imported from Ray that have an underscore somewhere."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (name for name in names if name.startswith("ray.") and "._" in name)
