"""`curves:FILE`: learning curves that others recorded, as arms that a config draws from.

A file ``NAME.npz`` has one array (2, n) per curve, by its key: the time since its start, rising,
and the validation metric times its sign, so that higher is better. Beside it ``NAME_index.json.gz``
(or ``.json``) is a list with an entry per curve: ``key`` and ``workload``, and whatever else is
known of it. Curves of one workload are compared with each other.

The curves have no parameters of ours, so which config has which curve says nothing: a new config
takes the next arm, in an order drawn with ``order``, and the first again after the last. So a
searcher can learn nothing from them; how well early rungs foretell the end is what they are for.

The epochs of the space divide a horizon: the time at which a quarter of the workload's curves have
ended, for these runs stop when they reach a target. A curve that ended before keeps its last value.
"""

from __future__ import annotations

import gzip
import json
import math
import random
import zipfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcm.schema import ConfigError, did_you_mean
from tuning.simulation.rd_point import of_average, rd_metrics
from tuning.spaces.space import SearchSpace

ENDED = 25.0  # percent of a workload's curves that have ended at the horizon
EPOCH_SECONDS = 60.0
MOST_EXCESS = 1e4  # percent: a curve that is worse is as bad as this


class Arms:
    """The curves of one workload, given to configs one by one."""

    def __init__(
        self, space: SearchSpace, curves: Mapping[str, NDArray[np.float32]], order: int = 0
    ) -> None:
        """``curves``: by key, each (2, n) of time and a metric that is better if higher."""
        self.own_lmbda, self.most = space.lmbda, space.fidelity.max
        self.horizon = float(np.percentile([curve[0, -1] for curve in curves.values()], ENDED))
        self.keys = sorted(curves)
        random.Random(order).shuffle(self.keys)
        epochs = self.horizon * np.arange(1, self.most + 1) / self.most
        values = {key: np.interp(epochs, *curves[key]) for key in self.keys}
        best = max(float(value[-1]) for value in values.values() if np.isfinite(value[-1]))
        scale = max(abs(best), 1e-9) / 100
        self._excess = {
            key: np.minimum((best - v) / scale, MOST_EXCESS) for key, v in values.items()
        }
        finals = [float(excess[-1]) for excess in self._excess.values()]
        self._middle = float(np.median(finals))
        self._arms: dict[str, str] = {}  # by config, in the order of the first question
        self._paths = {coordinate.path for coordinate in space.coordinates()}

    @classmethod
    def from_text(cls, text: str, space: SearchSpace) -> Arms:
        """``FILE`` or ``FILE:WORKLOAD``. Raises :class:`ConfigError` for what cannot be read."""
        file, _, workload = text.partition(".npz:")
        path = Path(f"{file}.npz" if workload else text).expanduser()
        found = read_curves(path)
        if not workload and len(found) > 1:
            raise ConfigError(
                f"--simulate curves:{text}: give the workload, curves:FILE:WORKLOAD; it has"
                f" {', '.join(sorted(found))}"
            )
        workload = workload or next(iter(found))
        if workload not in found:
            raise ConfigError(
                f"--simulate curves:{text}: no workload {workload}{did_you_mean(workload, found)}"
            )
        return cls(space, found[workload])

    def arm(self, params: Mapping[str, Any]) -> str:
        """The key of the curve that a config has."""
        config = repr(sorted(params.items()))
        if config not in self._arms:
            self._arms[config] = self.keys[len(self._arms) % len(self.keys)]
        return self._arms[config]

    def excess(self, params: Mapping[str, Any]) -> float:
        """How much worse than the best arm a config is at the end, percent of the best value."""
        return float(self._excess[self.arm(params)][-1])

    def worse_than(self, params: Mapping[str, Any]) -> float:
        """The share of all arms that end better than a config's, 0 to 1."""
        own = self.excess(params)
        return sum(float(e[-1]) < own for e in self._excess.values()) / len(self.keys)

    def report(self, params: Mapping[str, Any], seed: int, epoch: int) -> dict[str, float]:
        """The arm as excess of rate; a reference run has the middle one of the final values."""
        if params.keys() <= self._paths:
            lmbda, excess = self.own_lmbda, float(self._excess[self.arm(params)][epoch - 1])
        else:
            lmbda, excess = float(params["loss.lmbda"]), self._middle
        metrics = rd_metrics(lmbda, self.own_lmbda, excess if excess < math.inf else math.nan, 0.0)
        return metrics | of_average(metrics)

    def seconds(self, params: Mapping[str, Any], epoch: int) -> float:
        """The same for all: the horizon's epochs are of one length."""
        return EPOCH_SECONDS

    def text(self) -> str:
        """What its curves are."""
        return (
            f"{len(self._arms)} configs took one of {len(self.keys)} recorded curves each: the best"
            " config here is nobody's"
        )


def read_curves(path: Path) -> dict[str, dict[str, NDArray[np.float32]]]:
    """Curves by workload and key. Raises :class:`ConfigError` naming what is wrong with a file."""
    where = f"--simulate curves:{path}"
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: np.asarray(file[key]) for key in file.files}
    except (OSError, ValueError, zipfile.BadZipFile, AttributeError) as error:
        raise ConfigError(f"{where}: not a file of curves (.npz): {error}") from None
    found: dict[str, dict[str, NDArray[np.float32]]] = defaultdict(dict)
    for entry in _index(path, where):
        try:
            key, workload = str(entry["key"]), str(entry["workload"])
        except (KeyError, TypeError):
            raise ConfigError(f"{where}: an entry of its index lacks key or workload") from None
        curve = arrays.get(key)
        if curve is None or curve.ndim != 2 or curve.shape[0] != 2 or curve.shape[1] < 2:
            raise ConfigError(f"{where}: {key} is no curve of time and metric, (2, n), n above 1")
        found[workload][key] = curve
    if not found:
        raise ConfigError(f"{where}: its index has no entry")
    return dict(found)


def _index(path: Path, where: str) -> list[Any]:
    for name in (f"{path.stem}_index.json.gz", f"{path.stem}_index.json"):
        index = path.with_name(name)
        if index.is_file():
            try:
                data = index.read_bytes()
                entries = json.loads(gzip.decompress(data) if name.endswith(".gz") else data)
            except (OSError, ValueError) as error:
                raise ConfigError(f"{where}: {name}: {error}") from None
            if not isinstance(entries, list):
                raise ConfigError(f"{where}: {name}: must be a list of entries")
            return entries
    raise ConfigError(f"{where}: no index beside it ({path.stem}_index.json.gz)")
