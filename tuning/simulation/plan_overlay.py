"""`--write FILE`: a plan as a search-space file that extends the one that was planned for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from hpcm.atomic_files import write_atomically
from hpcm.schema import ConfigError, to_plain
from tuning.simulation.plan import Plan
from tuning.spaces.loading import load_space
from tuning.spaces.space import SearchSpace


def check_overlay(file: str, space: SearchSpace, overrides: Sequence[str]) -> Path:
    """The path to write to. Raises :class:`ConfigError` before anything is simulated."""
    path = Path(file).expanduser()
    if overrides:
        raise ConfigError(
            f"--write {file}: not with --set {overrides[0]}, which the file would not have; write"
            " it into a space, or take the printed command"
        )
    if path.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"--write {file}: a search space is a .yaml file")
    if path.exists():
        raise ConfigError(f"--write {file}: there is a file; nothing is overwritten")
    if not path.parent.is_dir():
        raise ConfigError(f"--write {file}: there is no folder {path.parent}")
    if space.path is None or "extends" in yaml.safe_load(Path(space.path).read_text("utf-8")):
        raise ConfigError(
            f"--write {file}: {space.name} itself extends a space, and only one level is allowed;"
            " take the --set of the printed command"
        )
    return path


def write_overlay(path: Path, space: SearchSpace, plan: Plan, summary: str) -> None:
    """The file, which `tune.py --space FILE` runs. Raises :class:`ConfigError` if it would not."""
    sections: dict[str, Any] = {name: to_plain(dict(v)) for name, v in plan.changes.items()}
    in_profile = space.profile in space.profiles and space.profile != "cluster"
    assert space.path is not None
    data = {
        "name": path.stem,
        "extends": os.path.relpath(space.path, path.parent.resolve()),
        **({"profiles": {space.profile: sections}} if in_profile else sections),
    }
    if "/" not in data["extends"]:
        data["extends"] = f"./{data['extends']}"
    comment = f"# {space.question}\n#\n# Planned: {summary}\n"
    text = comment + yaml.safe_dump(data, sort_keys=False, default_flow_style=None)
    write_atomically(path, text.encode())
    try:
        made = load_space(path, space.profile)
        if made.rungs() != plan.space.rungs() or made.budget != plan.space.budget:
            raise ConfigError(f"{path}: the profile {space.profile} undoes the plan")
    except ConfigError:
        path.unlink()
        raise
