"""A folder of an experiment as a source: what its trials reported, by the nearest config.

A config that was tried has its own curve. Another has that of the nearest one, by `distance`; how
far that was is kept, and printed with the result. A curve that ends early (its trial was stopped)
goes on in parallel with that of the nearest config that went to the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from hpcm.schema import ConfigError
from tuning.ledger.folders import EXPERIMENT_FILE, read_experiment
from tuning.ledger.ledger import Ledger
from tuning.ledger.records import TrialRecord
from tuning.spaces.coordinates import Coordinate
from tuning.spaces.space import SearchSpace

Params = Mapping[str, Any]
SECONDS = "train/seconds"
FARTHEST = 0.5  # distance of the prior config from the nearest curve
AS_THEY_ARE = ("epoch", "delta_rate")  # of a report: not carried on in parallel, or computed anew


class Recorded:
    """What was reported by the trials of one experiment, and by those of it that confirm."""

    def __init__(self, space: SearchSpace, trials: Sequence[TrialRecord], name: str) -> None:
        """``name``: for messages. Raises :class:`ConfigError` if the space cannot be replayed."""
        self.most, self.name = space.fidelity.max, name
        self.coordinates = {c.path: c for c in space.coordinates()}
        self.references = [t for t in trials if t.role == "reference" and t.reports]
        self.trials = [t for t in trials if t.role == "search" and t.reports]
        self.distances: dict[str, float] = {}  # of each config that was asked for
        self._nearest: dict[str, tuple[TrialRecord, TrialRecord]] = {}
        self._by_seed = {
            (_key(t.params), t.seed): t for t in trials if t.role == "confirm" and t.reports
        }
        self._whole = [t for t in self.trials if t.epochs >= self.most or t.diverged]
        self._refuse(space)

    @classmethod
    def from_folder(cls, text: str, space: SearchSpace) -> Recorded:
        """The experiment in a folder. Raises :class:`ConfigError` if it cannot be replayed."""
        directory = Path(text).expanduser()
        if not (directory / EXPERIMENT_FILE).is_file():
            raise ConfigError(f"--simulate {text}: not the folder of an experiment")
        recorded = read_experiment(directory)
        ledger = Ledger(directory, devices=recorded.resources.devices)
        return cls(space, list(ledger.trials.values()), directory.name)

    def report(self, params: Params, seed: int, epoch: int) -> Mapping[str, float]:
        """The nearest config's report of an epoch; NaN in all of it once that config diverged."""
        own = self._by_seed.get((_key(params), seed))
        if own is not None and own.epochs >= epoch:
            return own.report_at(epoch) or {}
        trial, goes_on = self._curves(params)
        if epoch <= trial.epochs:
            return _at(trial, epoch)
        if trial.diverged:
            return {name: math.nan for name in trial.last if name not in AS_THEY_ARE}
        last, then, now = trial.last, _at(goes_on, trial.epochs), _at(goes_on, epoch)
        return {
            name: value * now[name] / then[name]
            for name, value in last.items()
            if name not in AS_THEY_ARE and name in now and then.get(name)
        }

    def seconds(self, params: Params, epoch: int) -> float:
        """What the epoch took; after the curve's end what its last epoch did."""
        trial, _ = self._curves(params)
        return _at(trial, min(epoch, trial.epochs)).get(SECONDS, 1.0)

    def text(self) -> str:
        """How far the configs that were asked for are from those with a curve."""
        if not self.distances:
            return f"no config was asked of {self.name}"
        far = list(self.distances.values())
        return (
            f"{len(far)} configs took the curve of the nearest of {len(self.trials)} in"
            f" {self.name}: distance {median(far):.2f} (median), {max(far):.2f} at most, where 1 is"
            " the whole range of every parameter"
        )

    def _curves(self, params: Params) -> tuple[TrialRecord, TrialRecord]:
        """The curve of a config, and the whole one by which it goes on."""
        key = repr(_key(params))
        if key not in self._nearest:
            same = [t for t in (*self.trials, *self.references) if _key(t.params) == _key(params)]
            if not same and not params.keys() <= self.coordinates.keys():
                raise ConfigError(
                    f"--simulate {self.name}: it has no reference run with"
                    f" {', '.join(f'{path} {value}' for path, value in params.items())}"
                )
            near = same[0] if same else min(self.trials, key=self._from(params))
            whole = near if near in self.references else min(self._whole, key=self._from(params))
            if near.role == "search":
                self.distances[key] = self._from(params)(near)
            self._nearest[key] = near, whole
        return self._nearest[key]

    def _from(self, params: Params) -> Callable[[TrialRecord], float]:
        return lambda trial: distance(self.coordinates, params, trial.params)

    def _refuse(self, space: SearchSpace) -> None:
        """Raise for what cannot be replayed."""
        where = f"--simulate {self.name}"
        if not any(self.coordinates.keys() & t.params.keys() for t in self.trials):
            raise ConfigError(
                f"{where}: no trial of it has a parameter of {space.name} and a report"
            )
        for name in space.compared:
            if not any(name in t.last for t in self.trials):
                raise ConfigError(f"{where}: its trials report no {name}, which is compared")
        if not any(t.epochs >= self.most for t in self.trials):
            longest = max(t.epochs for t in self.trials)
            raise ConfigError(
                f"{where}: its curves end at epoch {longest} at the latest, and fidelity.max is"
                f" {self.most}; --set fidelity.max={longest}"
            )
        prior = space.prior()
        near = min(distance(self.coordinates, prior, t.params) for t in self.trials)
        if near > FARTHEST:
            raise ConfigError(
                f"{where}: no curve near the prior config of {space.name}: the nearest is"
                f" {near:.2f} away, of 1; {FARTHEST:g} at most"
            )
        there = {t.lmbda for t in self.references if t.epochs >= self.most}
        missing = [f"{lmbda:g}" for lmbda in space.reference_lmbdas() if lmbda not in there]
        if missing:
            raise ConfigError(
                f"{where}: it has no whole reference run at lmbda {', '.join(missing)}, which"
                " delta_rate needs; --set objective.metric=val_rd_cost goes without"
            )


def distance(coordinates: Mapping[str, Coordinate], one: Params, other: Params) -> float:
    """Between two configs, 0 to 1: the mean over what is active in either.

    A number counts by the share of its range, a choice by whether it differs, and what is active in
    only one counts 1.
    """
    paths = (one.keys() | other.keys()) & coordinates.keys()
    if not paths:
        return 1.0
    return sum(_distance_in(coordinates[path], one, other) for path in paths) / len(paths)


def _distance_in(coordinate: Coordinate, one: Params, other: Params) -> float:
    path = coordinate.path
    if path not in one or path not in other:
        return 1.0
    if coordinate.type == "categorical":
        return float(one[path] != other[path])
    if not (coordinate.contains(one[path]) and coordinate.contains(other[path])):
        return 1.0
    if coordinate.split is not None:
        return float((one[path] < coordinate.split) != (other[path] < coordinate.split))
    return abs(coordinate.share(one[path]) - coordinate.share(other[path]))


def _at(trial: TrialRecord, epoch: int) -> dict[str, float]:
    return trial.report_at(epoch) or trial.last


def _key(params: Params) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(params.items()))
