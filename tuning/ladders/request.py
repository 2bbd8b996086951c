"""From the flags of a ladder to its space: which configs, at which lmbda and seeds, on what."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import Any

from hpcm.config import TrainConfig
from hpcm.schema import ConfigError, config_class, leaves, load, overlay, set_path, to_plain
from hpcm.yaml_files import override
from tuning.spaces.documents import EXPORTS, SHIPPED
from tuning.spaces.ladder_space import Ladder, LadderSpace, ladder_of
from tuning.spaces.sections import BASELINE, Budget, Faults, Resources
from tuning.spaces.space import TREATMENTS

BASELINE_NAME = "baseline"  # as --against: the config with the plain recipe
SCRATCH, SAMPLE = "scratch", "sample"  # as --start-from
LAPTOP = Resources(gpu=0, cpu=1)


@config_class
class Running:
    """What `--set` may change besides fields of the run configs."""

    resources: Resources = field(default_factory=Resources)
    budget: Budget = field(default_factory=Budget)
    faults: Faults = field(default_factory=Faults)


def new_space(flags: argparse.Namespace, profile: str) -> LadderSpace:
    """The space of a new ladder. Raises :class:`ConfigError`."""
    for flag, values in (("lmbdas", flags.lmbdas), ("seeds", flags.seeds)):
        if len(set(values)) < len(values):
            given = " ".join(f"{value:g}" for value in values)
            raise ConfigError(f"--{flag} {given}: must be different numbers")
    source = Path(flags.config)
    if not source.exists():
        raise ConfigError(_missing(source))
    config = TrainConfig.from_yaml(source)
    name = source.name.removesuffix(".yaml").removesuffix(".yml")
    against, anchor = _anchor(flags.against, config)
    if against == name:
        raise ConfigError(f"--against {flags.against}: has the same name as {source}; rename one")
    configs = {
        known: _overridden(plain, flags.set, name=known)
        for known, plain in ((against, anchor.to_plain()), (name, config.to_plain()))
    }
    running = _running(flags.set, profile)
    start, weights = start_weights(flags.start_from, flags.lmbdas)
    for known, plain in configs.items():
        if start is not None:
            plain["start_from"] = None if start == SCRATCH else start
        _check_start(known, plain, flags.lmbdas, weights)
    return ladder_of(
        Ladder(configs=configs, start_from=weights, source=config.digest),
        name=f"{name}-ladder",
        lmbdas=flags.lmbdas,
        seeds=flags.seeds,
        profile=profile,
        resources=running.resources,
        budget=running.budget,
        faults=running.faults,
    )


def _missing(source: Path) -> str:
    """Why there is no run config yet, and which there are."""
    here = Path.cwd()
    folders = {source.parent.absolute(), (SHIPPED / EXPORTS).absolute()}
    found = sorted(path for folder in folders for path in folder.glob("*.yaml"))
    names = [str(path.relative_to(here) if path.is_relative_to(here) else path) for path in found]
    there = f"; there are {', '.join(names)}" if names else ""
    return (
        f"{source}: there is no such run config; a search writes its best one when it ends, into"
        f" {EXPORTS}/ beside its space{there}"
    )


def grown_space(recorded: LadderSpace, flags: argparse.Namespace) -> LadderSpace:
    """The recorded ladder with what the flags add. Raises :class:`ConfigError`."""
    lmbdas = flags.lmbdas or ()
    start, weights = start_weights(flags.start_from, (*recorded.lmbdas, *lmbdas))
    if start is not None:
        raise ConfigError(f"--start-from {start}: not with --resume; give LMBDA=NAME for a new one")
    space = recorded.grown(lmbdas, flags.seeds or (), weights)
    for name, plain in space.ladder.configs.items():
        _check_start(name, plain, lmbdas, space.ladder.start_from)
    fields = [text for text in flags.set if text.partition(".")[0] == "base"]
    if fields:
        raise ConfigError(f"--set {fields[0]}: not with --resume; its runs are of other settings")
    running = _running(flags.set, recorded.profile, recorded)
    budget = replace(running.budget, trials=space.budget.trials)
    return replace(space, resources=running.resources, budget=budget, faults=running.faults)


def start_weights(
    given: Sequence[str] | None, lmbdas: Sequence[float]
) -> tuple[str | None, dict[str, str]]:
    """`--start-from` as one word for all runs, or as weights by lmbda.

    Raises :class:`ConfigError` for another form, and for an lmbda that is not trained.
    """
    if not given:
        return None, {}
    if len(given) == 1 and given[0] in (SCRATCH, SAMPLE):
        return given[0], {}
    weights = {}
    for text in given:
        number, equals, name = text.partition("=")
        try:
            lmbda = float(number)
        except ValueError:
            equals = ""
        if not equals or not name:
            raise ConfigError(
                f"--start-from {text}: must be {SCRATCH}, {SAMPLE}, or LMBDA=NAME for each lmbda"
            )
        if lmbda not in lmbdas:
            known = " ".join(f"{x:g}" for x in lmbdas)
            raise ConfigError(f"--start-from {text}: {lmbda:g} is not among --lmbdas {known}")
        weights[f"{lmbda:g}"] = name
    return None, weights


def _anchor(against: str, config: TrainConfig) -> tuple[str, TrainConfig]:
    """The config that is compared with: the plain recipe on the same data, or a file."""
    if against != BASELINE_NAME:
        file = Path(against)
        if not file.exists():
            raise ConfigError(
                f"--against {against}: no such file; must be {BASELINE_NAME} or a run config"
            )
        return file.name.removesuffix(".yaml").removesuffix(".yml"), TrainConfig.from_yaml(file)
    plain = config.to_plain()
    for section in TREATMENTS:
        plain.pop(section, None)
    for path, value in leaves(BASELINE).items():
        set_path(plain, path, value)
    return BASELINE_NAME, TrainConfig.from_plain(plain, BASELINE_NAME)


def _overridden(plain: dict[str, Any], texts: Sequence[str], name: str) -> dict[str, Any]:
    """A run config with `--set base.KEY=VALUE`, whole again."""
    for text in texts:
        if text.startswith("base."):
            plain = overlay(plain, override(text.removeprefix("base.")))
    return TrainConfig.from_plain(plain, name).to_plain()


def _running(texts: Sequence[str], profile: str, recorded: LadderSpace | None = None) -> Running:
    """How the runs are placed, by `--set` or as before."""
    plain: dict[str, Any] = {}
    for text in texts:
        top = text.partition(".")[0]
        if top not in ("base", *Running.__dataclass_fields__):
            raise ConfigError(
                f"--set {text}: must begin with base. (a field of the run configs), resources.,"
                " budget. or faults."
            )
        if text.startswith("budget.trials"):
            raise ConfigError(f"--set {text}: the lmbda and the seeds say how many runs there are")
        if top != "base":
            plain = overlay(plain, override(text))
    if recorded is not None:
        first = Running(
            resources=recorded.resources, budget=recorded.budget, faults=recorded.faults
        )
    else:
        first = Running(resources=LAPTOP if profile == "laptop" else Resources())
    return load(Running, overlay(to_plain(first), plain), "--set")


def _check_start(
    name: str, plain: Mapping[str, Any], lmbdas: Sequence[float], weights: Mapping[str, str]
) -> None:
    """Raise :class:`ConfigError` if runs would start from weights of another lmbda."""
    start = plain.get("start_from")
    missing = [f"{lmbda:g}" for lmbda in lmbdas if f"{lmbda:g}" not in weights]
    if start in (None, SAMPLE) and not weights:
        return
    if missing and start not in (None, SAMPLE):
        raise ConfigError(
            f"{name}: start_from is '{start}', the weights of one lmbda; give those of"
            f" {', '.join(missing)} by --start-from LMBDA=NAME, or --start-from {SCRATCH}"
        )
    if missing:
        raise ConfigError(
            f"--start-from: no weights for lmbda {', '.join(missing)}; name those of every lmbda"
        )
