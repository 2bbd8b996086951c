"""The best trial as a run config that anyone trains without Ray, with its provenance on top."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hpcm
from hpcm.schema import ConfigError
from tuning.ledger.folders import read_provenance, storage_text
from tuning.ledger.provenance import data_facts, git_commit, versions
from tuning.ledger.records import TrialRecord
from tuning.results.answer import metric_rows
from tuning.results.confirm_text import confirmed_text
from tuning.results.exported import BEST_FILE
from tuning.results.lineage import history_lines, lineage
from tuning.results.outcome import ExperimentResult
from tuning.results.train_commands import (
    YOUR_SET,
    differences,
    full_command,
    ladder_command,
    own_ladder_command,
    repeat_command,
    repeat_commands,
)
from tuning.spaces.documents import EXPORTS, SHIPPED, shipped_spaces
from tuning.spaces.draws import total_trials
from tuning.spaces.loading import load_space
from tuning.spaces.profile_choice import ProfileChoice
from tuning.spaces.space import SearchSpace
from tuning.spaces.wording import columns, count_text

HELP = f"{YOUR_SET}: images that the search has not seen, by name or folder; sample_val to try it"
FULL = "cluster"  # the file as written; a config found with any other profile is a proxy
REASON = "asked for by the program that ran the search"  # if tune.py did not


@dataclass(frozen=True)
class Export:
    """A written run config and the commands that use it, as terminal and header have them."""

    config: hpcm.TrainConfig
    stored: Path  # in the experiment's folder
    copied: Path  # beside the search space, in best/; ``stored`` if that cannot be written
    shown: Path  # the copy, relative to the working directory if it lies below it
    repeat: str  # the command that gives the trial's own numbers
    full: str  # the command that trains in full
    ladder: str  # the command that trains it and the baseline at every lmbda, and judges
    own_ladder: str | None  # of a proxy: the same at its own size
    full_epochs: int  # its length
    is_proxy: bool
    problem: str | None = None  # why there is no copy in best/
    submitted: bool = False  # by a submitted job: it lies on the cluster, not where the user is
    simulated: bool = False  # on curves: no run gives the trial's numbers again

    def command_lines(self) -> list[str]:
        """What can be done with it, from the least work to the most: a title, then a command."""
        full, again = f"all {self.full_epochs} epochs", "the same numbers epoch by epoch"
        curve = "curve against the baseline, with a BD-rate"
        own = {f"its {curve} ({HELP})": self.own_ladder} if self.own_ladder else {}
        repeat = f"repeat the trial, {again}" if not self.simulated else "train the trial's config"
        titled = {repeat: self.repeat, **own}
        titled[f"train it in full, {full}"] = self.full
        if self.repeat == self.full:
            text = f"train it, {full}" if self.simulated else f"train it again, {full}, {again}"
            titled = {text: self.full}
        titled[f"its {'full-size ' if own else ''}{curve}"] = self.ladder
        return [line for title, text in titled.items() for line in (f"{title}:", f"  {text}")]


def export_best(result: ExperimentResult) -> Export:
    """Write the best trial's config to the experiment's folder and to ``best/`` beside its space.

    Raises ValueError if no trial has a result.
    """
    if result.best is None:
        raise ValueError(f"{result.info.name}: no trial has a result, so nothing can be exported")
    space, best = result.info.space, result.best
    proxy = space.profile != FULL
    target = _target(result, best)
    epochs = best.epochs if proxy else target.epochs
    config = space.config(best.params, epochs=epochs)
    stored = result.info.directory / BEST_FILE
    copied, problem = _place(result, stored)
    shown, where = _shown(copied), storage_text(result.info.storage)
    export = Export(
        config=config,
        stored=stored,
        copied=copied,
        shown=shown,
        repeat=_repeat(result, shown, config),
        full=full_command(shown, config, target),
        ladder=ladder_command(shown, config, target) + where,
        own_ladder=own_ladder_command(shown, config) + where if proxy else None,
        full_epochs=target.epochs,
        is_proxy=proxy,
        problem=problem,
        simulated=bool(result.info.simulated),
    )
    config.to_yaml(stored, header="\n".join(_header(result, export)))
    if copied != stored:
        shutil.copyfile(stored, copied)
    return export


def _repeat(result: ExperimentResult, file: Path, config: hpcm.TrainConfig) -> str:
    """The command, or one for each stretch of a trial whose config changed on the way."""
    assert result.best is not None
    stretches = lineage(result.trials, result.best)
    if len(stretches) == 1:
        return repeat_command(file, config, result.best.epochs)
    space = result.info.space
    ways = [(s.last, space.config(s.params, epochs=config.epochs)) for s in stretches]
    return repeat_commands(file, config, ways)


def best_config(result: ExperimentResult) -> hpcm.TrainConfig:
    """The best trial's run config, to the end of its schedules.

    Raises ValueError if no trial has a result.
    """
    if result.best is None:
        raise ValueError(f"{result.info.name}: no trial has a result")
    space = result.info.space
    return space.config(result.best.params, epochs=space.fidelity.horizon)


def _place(result: ExperimentResult, stored: Path) -> tuple[Path, str | None]:
    """The path of the copy, its folder made; or ``stored``, and why there is no copy."""
    if result.info.simulated:
        return stored, "not to best/: it was simulated"
    path = best_path(result.info.space)
    try:
        path.parent.mkdir(exist_ok=True)
        with path.open("ab"):
            return path, None
    except OSError as error:
        return stored, f"{path} cannot be written: {error.strerror}"


def best_path(space: SearchSpace) -> Path:
    """``best/phase3.yaml`` beside the space; ``best/phase3.laptop.yaml`` under another profile."""
    suffix = "" if space.profile == FULL else f".{space.profile}"
    return Path(source_of(space)).parent / EXPORTS / f"{space.name}{suffix}.yaml"


def source_of(space: SearchSpace) -> str:
    """The file of a recorded space: where it was, or the shipped one if the project moved.

    Raises :class:`ConfigError` if both are gone.
    """
    if space.path and Path(space.path).is_file():
        return space.path
    if space.name in shipped_spaces():
        return str(SHIPPED / f"{space.name}.yaml")
    raise ConfigError(f"{space.path}: the file of this search space is gone; put it back")


def _target(result: ExperimentResult, best: TrialRecord) -> hpcm.TrainConfig:
    """The full run of the trial's settings: the cluster's base, to the end of its schedules.

    An override stays, unless it is on a key that the profile itself changes: then it was about the
    proxy.
    """
    space = result.info.space
    if space.profile == FULL:
        return space.config(best.params, epochs=space.fidelity.horizon)
    source = source_of(space)
    proxy, full = load_space(source, space.profile), load_space(source, FULL)
    changed = differences(proxy.base, full.base) | differences(full.base, proxy.base)
    overrides = read_provenance(result.info.directory).get("overrides", [])
    kept = [text for text in overrides if _is_general(text.partition("=")[0], changed)]
    full = load_space(source, FULL, [*kept, "confirm.top=0"])  # one run: its seed may be any
    return full.config(best.params, epochs=full.fidelity.horizon)


def _is_general(key: str, changed: Mapping[str, Any]) -> bool:
    """Whether an override's key is part of the question, and not of what the profile changes."""
    top, _, path = key.partition(".")
    return top == "parameters" or (
        top == "base" and not any(path == c or path.startswith(f"{c}.") for c in changed)
    )


def _shown(path: Path) -> Path:
    """Relative to the working directory if it lies below it."""
    here = Path.cwd()
    return path.resolve().relative_to(here) if path.resolve().is_relative_to(here) else path


def _header(result: ExperimentResult, export: Export) -> list[str]:
    """What the file is, where it comes from, what it reached, and how to run it."""
    info, space, simulated = result.info, result.info.space, result.info.simulated
    facts = read_provenance(info.directory)
    assert result.best is not None
    what = (
        f"PROXY: found under the profile {space.profile}; it ranks settings for that model only."
        if export.is_proxy
        else "The best run config of a search."
    )
    rows = [
        ("experiment", info.name),
        ("trial", f"{result.best.number}, the best of {count_text(len(result.trials), 'trial')}"),
        *_unfinished_rows(result),
        *_confirmed_rows(result),
        ("profile", str(ProfileChoice(space.profile, facts.get("profile_reason", REASON)))),
        ("overrides", " ".join(facts.get("overrides", [])) or "none"),
        *_import_rows(facts.get("imports", {})),
        ("written", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")),
        ("git commit", git_commit()),
        ("config digest", export.config.digest),
        ("space digest", space.digest),
        ("versions", ", ".join(versions())),
        *([] if simulated else data_facts(export.config)),
    ]
    return [
        *([f"SIMULATED on {simulated}: no trial was trained.", ""] if simulated else []),
        what,
        "",
        *columns(rows),
        "",
        *_numbers(result),
        *_history(result),
        "",
        *export.command_lines(),
    ]


def _import_rows(imports: Mapping[str, str]) -> list[tuple[str, str]]:
    """The files with parts of the user's own, without which this config cannot be read."""
    files = [f"{name} (SHA-256 {digest})" for name, digest in imports.items()]
    return [("needs --import", ", ".join(files))] if files else []


def _history(result: ExperimentResult) -> list[str]:
    """The values before the last ones, if a population-based scheduler changed them."""
    assert result.best is not None
    stretches = lineage(result.trials, result.best)
    if len(stretches) == 1:
        return []
    return [
        "",
        "Some values changed while it trained, and some weights are another trial's. This file has",
        "the last values; a run of it alone is another run. Repeating takes all of these:",
        *history_lines(result.info.space, stretches),
    ]


def _unfinished_rows(result: ExperimentResult) -> list[tuple[str, str]]:
    """A row that says so if the search did not come to its end."""
    if result.complete:
        return []
    ended, total = sum(t.ended for t in result.trials), total_trials(result.info.space)
    return [("search", f"not complete: {ended} of {count_text(total, 'trial')} had ended")]


def _confirmed_rows(result: ExperimentResult) -> list[tuple[str, str]]:
    """Whether the best trial is the best on fresh seeds too, if that was asked for."""
    found = result.confirmation
    if not result.info.space.confirm.top:
        return []
    if found is None or found.best is None:
        return [("confirmed", "no: the numbers below are of one seed, and the best of many")]
    return [("confirmed", confirmed_text(found, found.best))]


def _numbers(result: ExperimentResult) -> list[str]:
    """The best trial and the prior at the same epoch."""
    assert result.best is not None
    if not result.best.scored(result.info.space.objective.score):
        return ["no trial has a score at the end: this is the prior"]
    return columns(metric_rows(result, result.best))
