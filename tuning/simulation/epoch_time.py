"""How long an epoch of a space's prior config takes: given, from a benchmark, or measured here."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from hpcm.evaluation.image_sets import image_set
from hpcm.files import read_json
from hpcm.schema import ConfigError
from tuning.spaces.space import SearchSpace
from tuning.watching.cost import can_measure, seconds_of_an_epoch


def epoch_time(space: SearchSpace, given: float | None, bench: str | None) -> tuple[float, str]:
    """Seconds, and where they are from. Raises :class:`ConfigError` if nothing tells."""
    if given is not None:
        return given, "given"
    if bench is not None:
        return _from_bench(space, Path(bench).expanduser()), f"a step as in {bench}"
    if can_measure(space):
        return seconds_of_an_epoch(space), "measured here, alone"
    raise ConfigError(
        f"{space.name}: how long is an epoch? This machine has no device for a trial; give"
        " --epoch-seconds, or --bench FILE as python -m benchmarks train_step writes it"
    )


def _from_bench(space: SearchSpace, path: Path) -> float:
    """Steps of an epoch times the seconds of one; validation is not in a benchmark of steps."""
    record = read_json(path)
    try:
        model, batch = record["options"]["model"], record["options"]["batch"]
        step = _step_seconds(record)
    except (KeyError, TypeError, ValueError, statistics.StatisticsError):
        raise ConfigError(f"{path}: not what python -m benchmarks train_step writes") from None
    config = space.config(space.prior())
    own = config.model.name, config.data.batch_size
    if (model, batch) != own:
        raise ConfigError(
            f"{path}: of {model}, batch {batch}; {space.name} trains {own[0]}, batch {own[1]}"
        )
    crops = config.data.crops_per_epoch or image_set(config.data.train).count
    return int(crops // batch) * step


def _step_seconds(record: Any) -> float:
    """The median of a step; of many settings that of the first, the plain one."""
    if "ours" in record:
        return float(record["ours"]["step"]["wall"])
    return float(statistics.median(next(iter(record["seconds_per_step"].values()))))
