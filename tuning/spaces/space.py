"""A search space: which fields of a run config are searched, how they are drawn, and how long.

Read from its file, and checked, by :mod:`tuning.spaces.loading`.

:meth:`SearchSpace.walk` is the one definition of what is active under which condition: sampling,
the prior, searchers, schedulers and validation all call it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar, cast

import hpcm
from hpcm.defaults import LMBDA, METRIC
from hpcm.schema import ConfigError, config_class, leaves, load, set_path, to_plain
from tuning.spaces.comparison import BEFORE, Change, by_path, changes, digest_of
from tuning.spaces.conditions import holds
from tuning.spaces.coordinates import Coordinate, Suggest, fields_named, sampled
from tuning.spaces.documents import SECTIONS
from tuning.spaces.parameters import DISTRIBUTIONS, Parameter
from tuning.spaces.scheduler_section import SCHEDULERS, SchedulerSection
from tuning.spaces.searcher_section import SEARCHERS, SearcherSection
from tuning.spaces.sections import (
    DELTA_RATE,
    Budget,
    Confirm,
    Faults,
    Fidelity,
    Objective,
    Resources,
    Sections,
)

# Sections that the baseline does not share with the trials.
TREATMENTS = ("optimizer", "balancer", "regularizers", "parts", "early_stopping")
ADDED = ("faults", "confirm")  # sections that the first experiments did not record


@config_class
class _Head:
    """What a recorded space holds besides its sections and parameters."""

    name: str
    question: str
    profile: str
    profiles: tuple[str, ...]
    path: str | None
    warnings: tuple[str, ...]
    base: dict[str, Any]


_HEAD = [field.name for field in fields(cast("Any", _Head))]


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """A search-space file under one profile, checked. Plain data: it can be pickled and sent."""

    name: str
    question: str  # the file's leading comment
    profile: str
    profiles: tuple[str, ...]  # all that the file knows
    base: dict[str, Any]  # part of a run config, as written; shared by all trials
    parameters: dict[str, Parameter]  # by the path of a run-config field, parents first
    fidelity: Fidelity
    objective: Objective
    scheduler: SchedulerSection
    searcher: SearcherSection
    budget: Budget
    resources: Resources
    faults: Faults
    confirm: Confirm
    path: str | None = None  # the file it was read from
    warnings: tuple[str, ...] = ()  # what a user should hear, one line each

    kind: ClassVar[str] = "search"  # of an experiment, in a word
    ranks_trials: ClassVar[bool] = True  # whether one of its trials can be called the best
    command: ClassVar[str] = "python tune.py"  # that runs it, and continues it by --resume

    def walk(self, suggest: Suggest) -> dict[str, Any]:
        """Draw one config: ``suggest`` is asked once for each active coordinate, parents first.

        Gives ``{coordinate path: what suggest gave}``, the flat config of a trial. Raises
        :class:`ConfigError` if ``suggest`` gives what the coordinate does not allow.
        """
        flat: dict[str, Any] = {}

        def asked(coordinate: Coordinate) -> Any:
            value = suggest(coordinate)
            if not coordinate.contains(value):
                raise ConfigError(f"{coordinate.path}: {value!r}; must be {coordinate.allowed}")
            flat[coordinate.path] = value
            return value

        values: dict[str, Any] = {}
        for path, parameter in self.parameters.items():
            if holds(parameter.when, values):
                values[path] = parameter.read(path, asked)
        return flat

    def active(self, flat: Mapping[str, Any]) -> dict[str, Any]:
        """The active part of ``flat``; raises :class:`ConfigError` if some of it is missing."""
        return self.walk(sampled(flat))

    def values(self, flat: Mapping[str, Any]) -> dict[str, Any]:
        """``{path of a run-config field: its value}`` of the active parameters."""
        values: dict[str, Any] = {}
        for path, parameter in self.parameters.items():
            if holds(parameter.when, values):
                values[path] = parameter.read(path, sampled(flat))
        return values

    def sides(self, flat: dict[str, Any]) -> dict[str, Any]:
        """``flat`` with the side of each coin of a `zero`: equal if the run configs are equal."""
        return flat | {
            path: flat[path] < coin for path, coin in self._coins.items() if path in flat
        }

    @cached_property
    def _coins(self) -> dict[str, float]:
        return {one.path: one.split for one in self.coordinates() if one.split is not None}

    def prior(self) -> dict[str, Any]:
        """The hand-tuned config, flat: trial 0, which every other trial is compared with."""
        return self.walk(lambda coordinate: coordinate.prior)

    def coordinates(self) -> Iterator[Coordinate]:
        """Every coordinate, active or not, in order."""
        for path, parameter in self.parameters.items():
            yield from parameter.coordinates(path)

    def config(self, flat: Mapping[str, Any], epochs: int | None = None) -> hpcm.TrainConfig:
        """The run config of a trial; ``epochs`` defaults to the maximum fidelity.

        Without a GPU torch gets as many threads as a trial has cores, unless ``base`` says
        otherwise: several trials share a machine, and the number of threads moves the last digits.
        Raises :class:`ConfigError` if ``flat`` lacks an active coordinate or cannot be built.
        """
        plain = copy.deepcopy(self.base)
        for path, value in self.values(flat).items():
            fields = fields_named(path)
            for field, one in zip(fields, value if len(fields) > 1 else [value], strict=True):
                set_path(plain, field, one)
        return self._built(plain, epochs)

    def _built(self, plain: dict[str, Any], epochs: int | None) -> hpcm.TrainConfig:
        """The run config of a section tree."""
        plain["epochs"] = self.fidelity.max if epochs is None else epochs
        plain["schedule_horizon"] = self.fidelity.horizon
        return hpcm.TrainConfig.from_plain(self.with_threads(plain), self.name)

    def with_threads(self, plain: dict[str, Any]) -> dict[str, Any]:
        """A section tree with as many threads as a trial has cores, unless it says otherwise."""
        precision = plain.setdefault("precision", {})
        sound = isinstance(precision, dict)  # else reading it as a run config says what is wrong
        if sound and precision.get("threads") is None and not self.resources.gpu:
            precision["threads"] = max(1, int(self.resources.cpu))
        return plain

    @property
    def lmbda(self) -> float:
        """The lmbda of the trials' loss."""
        found = self.of_base("loss", "lmbda")
        return float(found) if isinstance(found, int | float) else LMBDA

    @property
    def compared(self) -> tuple[str, ...]:
        """The metrics that a report needs at a rung: the objective's, or rate and quality."""
        if self.objective.metric != DELTA_RATE:
            return (self.objective.score,)
        loss = self.of_base("loss", "metric") or METRIC
        quality = "val_ms_ssim_db" if loss == "ms_ssim" else "val_psnr"
        return self.objective.of_weights("val_bpp"), self.objective.of_weights(quality)

    def of_base(self, section: str, key: str, default: Any = None) -> Any:
        """A field of the base; a section that is none is refused when the base is checked."""
        found = self.base.get(section)
        return found.get(key, default) if isinstance(found, dict) else default

    def reference_lmbdas(self) -> tuple[float, ...]:
        """The lmbda of the reference runs, ascending; none unless trials are judged by them."""
        if self.objective.metric != DELTA_RATE:
            return ()
        own = self.lmbda
        return tuple(sorted(self.objective.reference.lmbdas or (own / 2, own, 2 * own)))

    def reference_params(self, lmbda: float) -> dict[str, Any]:
        """The fields in which a reference run differs from the base, by their paths."""
        reference = self.objective.reference
        params = {"loss.lmbda": lmbda, **leaves(reference.config)}
        start = reference.start_from.get(f"{lmbda:g}")
        return params if start is None else params | {"start_from": start}

    def reference_config(self, lmbda: float) -> hpcm.TrainConfig:
        """The run config of a reference run: the base with the baseline's sections."""
        plain = copy.deepcopy(self.base)
        for section in (*self.objective.reference.config, *TREATMENTS):
            plain.pop(section, None)
        for path, value in self.reference_params(lmbda).items():
            set_path(plain, path, value)
        return self._built(plain, None)

    def trial_name(self, number: int) -> str:
        """How a trial is called in Ray, on the dashboard and on the disk: ``phase3-0007``."""
        return f"{self.name}-{number:04d}"

    def rungs(self) -> tuple[int, ...]:
        """Epochs at which trials are compared, ascending; the last is the maximum fidelity."""
        low, high = self.fidelity.min, self.fidelity.max
        return (*self.scheduler.levels(low, high), high)

    def to_plain(self) -> dict[str, Any]:
        """Nested dicts and lists; :meth:`from_plain` makes an equal space, without the file."""
        plain: dict[str, Any] = {
            "name": self.name,
            "question": self.question,
            "profile": self.profile,
            "profiles": list(self.profiles),
            "path": self.path,
            "warnings": list(self.warnings),
            "base": copy.deepcopy(self.base),
            "parameters": [  # a list: their order must survive a writer that sorts keys
                {"path": path, "type": _type_of(parameter), **to_plain(parameter)}
                for path, parameter in self.parameters.items()
            ],
        }
        return plain | {name: to_plain(getattr(self, name)) for name in SECTIONS}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> SearchSpace:
        """The inverse of :meth:`to_plain`. Raises :class:`ConfigError`."""
        where = str(plain["name"])
        head = load(_Head, {name: plain[name] for name in _HEAD}, where)
        known = [name for name in SECTIONS if name in plain or name not in ADDED]
        sections = load(Sections, {name: _as_before(name, plain[name]) for name in known}, where)
        parameters = {spec["path"]: _parameter(spec, where) for spec in plain["parameters"]}
        return cls(
            parameters=parameters,
            **{name: getattr(head, name) for name in _HEAD},
            **{name: getattr(sections, name) for name in SECTIONS},
        )

    @property
    def digest(self) -> str:
        """12 hex digits over what decides whether trials of two spaces may be compared."""
        return digest_of(self._keys())

    def diff(self, new: SearchSpace) -> list[Change]:
        """What ``new`` changes; empty if both search the same thing in the same way."""
        population = ("budget.trials",) if self.scheduler.changes_config else ()
        return changes(self._keys(), new._keys(), population)

    def _keys(self) -> dict[str, Any]:
        """Every key of the file by its dotted path."""
        plain = self.to_plain()
        plain["parameters"] = {spec.pop("path"): spec for spec in plain["parameters"]}
        return dict(by_path(plain))


def _as_before(name: str, section: Mapping[str, Any]) -> Mapping[str, Any]:
    """A recorded section, with the keys that its writer did not know."""
    kinds = {"scheduler": SCHEDULERS, "searcher": SEARCHERS}
    kind = kinds[name].get(str(section.get("name"))) if name in kinds else None
    if kind is None:
        return section
    known = {field.name for field in fields(kind)}
    return {key: v for key, v in BEFORE[name].items() if key in known} | dict(section)


def _parameter(spec: Mapping[str, Any], where: str) -> Parameter:
    """One parameter of a space's plain form."""
    rest = {key: value for key, value in spec.items() if key not in ("path", "type")}
    return load(DISTRIBUTIONS[spec["type"]], rest, f"{where}: parameters.{spec['path']}")


def _type_of(parameter: Parameter) -> str:
    return next(name for name, cls in DISTRIBUTIONS.items() if type(parameter) is cls)
