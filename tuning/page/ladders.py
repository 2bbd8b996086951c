"""The ladders that belong to an experiment, as page and report show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import hpcm
from hpcm.schema import ConfigError
from tuning.ledger import folders
from tuning.results.exported import BEST_FILE
from tuning.results.ladder import read_verdict
from tuning.results.ladder_text import bd_lines, bd_text
from tuning.spaces.ladder_space import LadderSpace
from tuning.spaces.space import SearchSpace


def ladders_data(directory: Path, space: SearchSpace) -> list[dict[str, Any]]:
    """A ladder's own verdict; of a search, those of the ladders of its exported config.

    They lie in the same folder of experiments, and know the digest of the config they were asked
    for.
    """
    if isinstance(space, LadderSpace):
        return [_one(directory)]
    digest = _exported(directory)
    return [_one(path) for path in _others(directory) if digest and _source(path) == digest]


def ladder_bd_lines(ladders: Sequence[Mapping[str, Any]]) -> list[str]:
    """The BD-rates of all ladders, a line each."""
    return [line for ladder in ladders if ladder["verdict"] for line in bd_lines(ladder["verdict"])]


def _one(directory: Path) -> dict[str, Any]:
    """Its verdict, or why there is none."""
    try:
        found = read_verdict(directory)
    except ConfigError as error:
        return {"name": directory.name, "verdict": None, "nothing": str(error)}
    for metric in (metric for one in (found or {"sets": ()})["sets"] for metric in one["metrics"]):
        metric["text"] = bd_text(metric)
    nothing = "" if found else "no run was scored yet"
    return {"name": directory.name, "verdict": found, "nothing": nothing}


def _others(directory: Path) -> list[Path]:
    folder = directory.parent
    return [folder / name for name in folders.experiments(folder) if name != directory.name]


def _source(directory: Path) -> str | None:
    """The digest of the config that a ladder was asked for; None: it is none, or not readable."""
    try:
        record = folders.read_provenance(directory)["space"]
    except ConfigError:
        return None
    ladder = record.get("ladder")
    return ladder.get("source") if isinstance(ladder, dict) else None


def _exported(directory: Path) -> str | None:
    path = directory / BEST_FILE
    if not path.is_file():
        return None
    try:
        return hpcm.TrainConfig.from_yaml(path).digest
    except ConfigError:
        return None
