"""A ladder: run configs trained at several lmbda and seeds, as the grid of one experiment.

Its parameters choose the config, the lmbda and the seed; a trial is one run of one config. Trials
are not compared with each other: costs at different lmbda have different units. What they come to
is a curve per config (:mod:`tuning.results.ladder`).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar

import hpcm
from hpcm.schema import ConfigError, config_class, load, set_path, to_plain
from tuning.spaces.categorical import Categorical
from tuning.spaces.scheduler_section import SCHEDULERS
from tuning.spaces.searcher_section import SEARCHERS
from tuning.spaces.sections import Budget, Confirm, Faults, Fidelity, Objective, Resources
from tuning.spaces.space import SearchSpace

CONFIG, LMBDA, SEED = "config", "loss.lmbda", "seed"  # the coordinates of a run
GROWS = ("parameters.", "ladder.start_from")  # keys that a later start may add to


@config_class
class Ladder:
    """What is trained at every lmbda and seed."""

    configs: dict[str, dict[str, Any]]  # whole run configs by name, the anchor first
    start_from: dict[str, str] = field(default_factory=dict)  # weights by lmbda: {"0.013": name}
    source: str = ""  # digest of the config that was asked for, before overrides


@dataclass(frozen=True, kw_only=True)
class LadderSpace(SearchSpace):
    """A search space whose trials are the runs of a ladder."""

    ladder: Ladder

    kind: ClassVar[str] = "ladder"
    ranks_trials: ClassVar[bool] = False
    command: ClassVar[str] = "python -m tuning ladder"

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the configs, the anchor first."""
        return tuple(self.ladder.configs)

    @property
    def lmbdas(self) -> tuple[float, ...]:
        """In the order in which they were asked for."""
        return self._choices(LMBDA)

    @property
    def seeds(self) -> tuple[int, ...]:
        """In the order in which they were asked for."""
        return self._choices(SEED)

    def _choices(self, path: str) -> tuple[Any, ...]:
        parameter = self.parameters[path]
        assert isinstance(parameter, Categorical)
        return parameter.choices

    def config(self, flat: Mapping[str, Any], epochs: int | None = None) -> hpcm.TrainConfig:
        """The run config of a run; see :meth:`SearchSpace.config`."""
        values = self.values(flat)
        plain = copy.deepcopy(self.ladder.configs[values[CONFIG]])
        for path in (LMBDA, SEED):
            set_path(plain, path, values[path])
        start = self.ladder.start_from.get(f"{values[LMBDA]:g}")
        if start is not None:
            plain["start_from"] = start
        plain["epochs"] = self.fidelity.max if epochs is None else epochs
        return hpcm.TrainConfig.from_plain(
            self.with_threads(plain), f"{self.name}: {values[CONFIG]}"
        )

    def runs(self) -> list[dict[str, Any]]:
        """The flat config of every run."""
        return [
            {SEED: seed, LMBDA: lmbda, CONFIG: name}
            for seed in self.seeds
            for lmbda in self.lmbdas
            for name in self.names
        ]

    def grown(
        self, lmbdas: Sequence[float], seeds: Sequence[int], start_from: Mapping[str, str]
    ) -> LadderSpace:
        """The same with further lmbdas and seeds. Raises :class:`ConfigError`."""
        known = self.ladder.start_from
        for lmbda, name in start_from.items():
            if float(lmbda) in self.lmbdas and known.get(lmbda) != name:
                was = known.get(lmbda, "what the config says")
                raise ConfigError(
                    f"--start-from {lmbda}={name}: the runs of this lmbda start from {was}; start"
                    " a new ladder for other weights"
                )
        return ladder_of(
            replace(self.ladder, start_from={**known, **start_from}),
            name=self.name,
            lmbdas=tuple(dict.fromkeys((*self.lmbdas, *lmbdas))),
            seeds=tuple(dict.fromkeys((*self.seeds, *seeds))),
            profile=self.profile,
            resources=self.resources,
            budget=self.budget,
            faults=self.faults,
        )

    def to_plain(self) -> dict[str, Any]:
        """See :meth:`SearchSpace.to_plain`."""
        return super().to_plain() | {"ladder": to_plain(self.ladder)}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> LadderSpace:
        """The inverse of :meth:`to_plain`. Raises :class:`ConfigError`."""
        space = SearchSpace.from_plain(plain)
        known = {one.name: getattr(space, one.name) for one in fields(SearchSpace)}
        ladder = load(Ladder, plain["ladder"], f"{plain['name']}: ladder")
        return cls(**known, ladder=ladder)

    def _keys(self) -> dict[str, Any]:
        """Without what a ladder may grow by."""
        return {k: v for k, v in super()._keys().items() if not k.startswith(GROWS)}


def ladder_of(
    ladder: Ladder,
    *,
    name: str,
    lmbdas: Sequence[float],
    seeds: Sequence[int],
    profile: str,
    resources: Resources,
    budget: Budget,
    faults: Faults,
) -> LadderSpace:
    """The space of all runs of ``ladder``; ``budget`` says how many at a time, and for how long.

    Raises :class:`ConfigError` if the configs differ in how long they train, or one cannot be read
    at one of the lmbda.
    """
    anchor, *others = ladder.configs.values()
    for other in others:
        for key in ("epochs", "schedule_horizon"):
            if other[key] != anchor[key]:
                raise ConfigError(
                    f"{key}: {', '.join(ladder.configs)} have {anchor[key]} and {other[key]}; runs"
                    f" that are compared train alike: give both one value by --set base.{key}=N"
                )
    if anchor["epochs"] > anchor["schedule_horizon"]:
        raise ConfigError(
            f"epochs is {anchor['epochs']}, above schedule_horizon ({anchor['schedule_horizon']}):"
            " the schedules would end before the runs do; --set base.schedule_horizon=N"
        )
    names = tuple(ladder.configs)
    space = LadderSpace(
        name=name,
        question=f"How much rate does {names[-1]} save against {names[0]}, over the whole curve?",
        profile=profile,
        profiles=(profile,),
        base=copy.deepcopy(anchor),
        parameters={  # runs of all configs follow one another, and the last seed comes last
            SEED: Categorical(choices=tuple(seeds), prior=seeds[0]),
            LMBDA: Categorical(choices=tuple(lmbdas), prior=lmbdas[0]),
            CONFIG: Categorical(choices=names, prior=names[0]),
        },
        fidelity=Fidelity(max=anchor["epochs"], schedule_horizon=anchor["schedule_horizon"]),
        objective=Objective(),
        scheduler=SCHEDULERS["fifo"](),
        searcher=SEARCHERS["grid"](),
        budget=replace(budget, trials=len(names) * len(lmbdas) * len(seeds)),
        resources=resources,
        faults=faults,
        confirm=Confirm(),
        ladder=ladder,
    )
    for flat in space.runs():
        space.config(flat)
    return space


def space_from_plain(plain: Mapping[str, Any]) -> SearchSpace:
    """A recorded space of either kind. Raises :class:`ConfigError`."""
    kind = LadderSpace if "ladder" in plain else SearchSpace
    return kind.from_plain(plain)
