"""The results file: CompressAI's schema, so published curves and ours plot together, plus the rest.

``results`` holds one list per metric with one value per point of the curve (``bpp``, ``psnr-rgb``,
``ms-ssim-rgb``, ``ms-ssim-rgb-db`` ..). What CompressAI's reader does not know stands beside it:
``dataset``, ``conditions`` (how it was measured), ``points`` (which model gave each point),
``origin`` (where published numbers are from) and ``images``, one row per point and image.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpcm.atomic_files import write_atomically
from hpcm.extra_packages import require
from hpcm.files import read_json
from hpcm.schema import ConfigError

Row = dict[str, float | int | str]

# What stands beside `results`, if it is given.
_KINDS: dict[str, type] = {
    **dict.fromkeys(("name", "dataset", "description"), str),
    **dict.fromkeys(("conditions", "origin"), dict),
    **dict.fromkeys(("points", "images"), list),
}
_TYPE_NAMES: dict[type, str] = {str: "text", dict: "a mapping", list: "a list"}


@dataclass(frozen=True)
class Results:
    """Points of a rate-distortion curve on one image set; a single model gives a single point."""

    name: str
    dataset: str
    results: dict[str, list[float]]
    description: str = ""
    conditions: dict[str, Any] = field(default_factory=dict)
    points: list[dict[str, Any]] = field(default_factory=list)
    origin: dict[str, Any] = field(default_factory=dict)
    images: list[Row] = field(default_factory=list)

    @classmethod
    def load(cls, path: str | Path) -> Results:
        """Read a results file, CompressAI's own included. Raises :class:`ConfigError`."""
        data = read_json(path, "a results file", infinite=True)
        points = data.get("results") if isinstance(data, dict) else None
        if not isinstance(points, dict) or "bpp" not in points:
            raise ConfigError(
                f"{path}: not a results file: no list 'bpp' under 'results'; {_holds(data)}. "
                "`python -m hpcm evaluate --output` writes one, as CompressAI's tools do"
            )
        ragged = [key for key, values in points.items() if not _numbers(values, points["bpp"])]
        if ragged:
            raise ConfigError(
                f"{path}: results.{ragged[0]}: must be a list of numbers as long as results.bpp"
            )
        known = {key: data[key] for key in cls.__dataclass_fields__ if key in data}
        for key, kind in _KINDS.items():
            if not isinstance(known.get(key, kind()), kind):
                raise ConfigError(f"{path}: {key}: must be {_TYPE_NAMES[kind]}")
        _check_points(f"{path}: points", known.get("points", []))
        _check_images(f"{path}: images", known.get("images", []), len(points["bpp"]))
        return cls(**{"name": Path(path).stem, "dataset": "", **known})

    def save(self, path: str | Path) -> Path:
        """Write the file, making its folder. Raises :class:`ConfigError` if it cannot."""
        path = Path(path)
        plain = {key: getattr(self, key) for key in self.__dataclass_fields__}
        kept = {key: value for key, value in plain.items() if value or key == "results"}
        with written(path):
            write_atomically(path, (json.dumps(kept, indent=1) + "\n").encode())
        return path

    def save_table(self, path: str | Path) -> Path:
        """Write the rows per image as .csv or .parquet. Raises :class:`ConfigError`."""
        path = Path(path)
        check_table(path)
        table = require("pandas", "pandas", "a table of images").DataFrame(self.images)
        with written(path):
            if path.suffix == ".csv":
                table.to_csv(path, index=False)
            else:
                table.to_parquet(path, index=False)
        return path


def check_table(path: Path) -> None:
    """Raise :class:`ConfigError` for a table's file of another kind than is written."""
    if path.suffix not in (".csv", ".parquet"):
        raise ConfigError(f"{path}: a table is written as .csv or .parquet")


@contextlib.contextmanager
def written(path: Path) -> Iterator[Path]:
    """Make the folder of ``path``; say in our words why it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield path
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None


def _check_points(where: str, points: list[Any]) -> None:
    """Each a mapping, its standard deviations numbers from 0 on."""
    for index, point in enumerate(points):
        spread = point.get("sd", {}) if isinstance(point, dict) else None
        if not isinstance(spread, dict):
            raise ConfigError(f"{where}[{index}]: must be a mapping, and so must its sd")
        for key, value in spread.items():
            if not (isinstance(value, int | float) and 0 <= value < float("inf")):
                raise ConfigError(f"{where}[{index}].sd.{key}: must be a number, 0 or more")


def _check_images(where: str, rows: list[Any], points: int) -> None:
    """Each a mapping of numbers or text, with the point it belongs to."""
    for index, row in enumerate(rows):
        if not isinstance(row, dict):
            raise ConfigError(f"{where}[{index}]: must be a mapping")
        if type(row.get("point")) is not int or not 0 <= row["point"] < points:
            raise ConfigError(f"{where}[{index}].point: must be a whole number, 0 to {points - 1}")
        for key, value in row.items():
            if not isinstance(value, int | float | str):
                raise ConfigError(f"{where}[{index}].{key}: must be a number or text")


def _holds(data: Any) -> str:
    """What a file of another kind has, so that its owner recognises it."""
    if not isinstance(data, dict):
        return f"it holds {_TYPE_NAMES.get(type(data), 'a single value')}"
    schema = data.get("schema")
    known = f"its schema is {schema!r}" if isinstance(schema, str) else "its keys are"
    return f"{known}: {', '.join(str(key) for key in list(data)[:8]) or 'none'}"


def _numbers(values: Any, like: Any) -> bool:
    return (
        isinstance(values, list)
        and isinstance(like, list)
        and len(values) == len(like) > 0
        and all(isinstance(value, int | float) and type(value) is not bool for value in values)
    )
