"""``python -m tuning ladder``: train every run, score it on the test sets, print the verdict.

Exit code 0: every run has finished and was scored. 1: one failed, or the hours ended it. 2:
something to mend in a file or a flag. 130: interrupted; resumable.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcm.commands.compare import write_csv
from hpcm.evaluation.comparison import Comparison
from hpcm.evaluation.rd_plot import save_plot
from hpcm.schema import ConfigError
from tuning.ladders.evaluation import TestSet, score_runs, test_sets
from tuning.ladders.request import grown_space, new_space
from tuning.ladders.text import final_lines, plan_lines
from tuning.ledger import folders
from tuning.ledger.ledger import Ledger
from tuning.ledger.provenance import git_commit
from tuning.ledger.records import TrialRecord
from tuning.on_ray.experiment import run_experiment
from tuning.on_ray.profiles import choose_profile
from tuning.on_ray.trainable import TrialContext
from tuning.results.ladder import FOLDER, Judged, judge, means, verdict_data, write_verdict
from tuning.results.ladder_text import verdict_lines
from tuning.spaces.documents import AUTO
from tuning.spaces.ladder_space import LadderSpace
from tuning.watch import (
    COMPLETE,
    FAILED,
    INTERRUPTED,
    Watch,
    image_warnings,
    look_for_images,
    measure,
)
from tuning.watching.console import Console


@dataclass(frozen=True)
class Ladder:
    """What is to be done: a new ladder, or one that goes on."""

    space: LadderSpace
    runs: Sequence[TrialRecord]  # that there are already
    resume: str | None  # its experiment
    images: Sequence[str]
    real: bool
    facts: dict[str, Any]  # kept with the experiment

    @property
    def left(self) -> list[dict[str, Any]]:
        """Runs that have not finished; one that failed is not tried again."""
        ended = [run.params for run in self.runs if run.state in ("finished", "failed")]
        return [flat for flat in self.space.runs() if flat not in ended]


def run(flags: argparse.Namespace) -> int:
    """Run the command. Raises :class:`ConfigError`."""
    console = Console()
    with image_warnings(console):
        return _run(flags, console)


def _run(flags: argparse.Namespace, console: Console) -> int:
    """Show what it costs, then do it unless it is a dry run."""
    storage = folders.storage_folder(flags.storage, write=not flags.dry_run)
    ladder = _resumed(flags, storage) if flags.resume else _fresh(flags)
    sets = test_sets(storage, ladder.images, ladder.real)
    for warning in _warnings(ladder.space, sets):
        console.say(f"warning: {warning}", "yellow")
    look_for_images(ladder.space, console)
    seconds = _known_seconds(ladder.runs) or (measure(ladder.space, console) if ladder.left else 0)
    for line in plan_lines(ladder.space, ladder.runs, sets, seconds, ladder.resume):
        console.say(line)
    if flags.dry_run:
        return COMPLETE
    try:
        return _go(ladder, flags, storage, console)
    finally:
        console.stop()


def _go(ladder: Ladder, flags: argparse.Namespace, storage: Path, console: Console) -> int:
    """Train what is left, then judge."""
    name = ladder.resume
    if ladder.left or name is None:
        with Watch(console) as hooks:
            result = run_experiment(
                ladder.space,
                storage=str(storage),
                resume=ladder.resume,
                address=flags.address,
                checkpoints=flags.checkpoints,
                provenance=ladder.facts,
                **hooks,
            )
        name = result.info.name
        if result.interrupted or result.error:
            why = result.error or "interrupted"
            resume = folders.command_text(f"{ladder.space.command} --resume", storage / name)
            console.say(f"\n{why}; {resume}", "yellow")
            return INTERRUPTED if result.interrupted else FAILED
    judged = judge_experiment(storage / name, ladder.images, ladder.real, console)
    for line in final_lines(storage / name):
        console.say(line)
    return COMPLETE if all(one.curves and not one.left_out for one in judged) else FAILED


def judge_experiment(
    directory: Path, images: Sequence[str], real: bool, console: Console
) -> list[Judged]:
    """Score the runs that have finished, write curves, verdict and plot, and print the BD-rates."""
    space = folders.read_experiment(directory)
    assert isinstance(space, LadderSpace)
    runs = Ledger(directory, devices=space.resources.devices).records()
    place = folders.read_provenance(directory).get("checkpoints")
    context = TrialContext(space, directory, checkpoints_at=place)
    sets = test_sets(directory, images, real)
    score_runs(sets, runs, context.checkpoints, console.say)
    judged = [judge(one.folder, space, runs) for one in sets]
    verdict = verdict_data(space, judged)
    write_verdict(directory, verdict)
    for line in ["", *verdict_lines(verdict)]:
        console.say(line)
    if pairs := [pair for one in judged for pair in one.pairs]:
        rows = [row for one in judged for row in one.comparisons]
        write_csv(directory / FOLDER / "bd_rate.csv", [*rows, *means(judged)])
        found = [row for row in rows if isinstance(row, Comparison)]
        save_plot(directory / FOLDER / "rd.svg", pairs, found=found)
    return judged


def _fresh(flags: argparse.Namespace) -> Ladder:
    missing = [name for name in ("config", "lmbdas", "images") if not getattr(flags, name)]
    if missing:
        flag = "CONFIG" if missing[0] == "config" else f"--{missing[0]}"
        raise ConfigError(f"{flag}: missing; see python -m tuning ladder --help")
    flags.seeds = flags.seeds or [0]
    choice = choose_profile(flags.profile, flags.address, ("laptop",))
    space = new_space(flags, choice.name)
    facts = {
        "profile_reason": choice.reason,
        "overrides": flags.set,
        "git_commit": git_commit(),
        "images": flags.images,
        "real": flags.real,
        "sources": [str(flags.config), str(flags.against)],
    }
    return Ladder(space, (), None, flags.images, flags.real, facts)


def _resumed(flags: argparse.Namespace, storage: Path) -> Ladder:
    """A ladder that goes on, with what the flags add to it."""
    directory = folders.find(storage, flags.resume)
    recorded = folders.read_experiment(directory)
    if not isinstance(recorded, LadderSpace):
        raise ConfigError(
            f"--resume {directory.name}: a search; {recorded.command} --resume {directory.name}"
        )
    if flags.config is not None:
        raise ConfigError(f"{flags.config}: not with --resume; the ladder has its configs")
    if flags.profile != AUTO:
        raise ConfigError(
            f"--profile {flags.profile}: not with --resume; it has {recorded.profile}"
        )
    folders.refuse_other_parts(directory)
    facts = folders.read_provenance(directory)
    images = flags.images or facts.get("images", [])
    real = flags.real or bool(facts.get("real"))
    runs = Ledger(directory, devices=recorded.resources.devices).records()
    kept = ("profile_reason", "overrides", "sources")
    facts = {key: facts[key] for key in kept if key in facts}
    facts |= {"git_commit": git_commit(), "images": images, "real": real}
    space = grown_space(recorded, flags)
    return Ladder(space, runs, directory.name, images, real, facts)


def _warnings(space: LadderSpace, sets: Sequence[TestSet]) -> list[str]:
    """Test sets that a config has seen."""
    texts = []
    for name, plain in space.ladder.configs.items():
        for one in sets:
            if one.images.name in (plain["data"]["train"], plain["data"]["val"]):
                texts.append(f"{one.images.name} judges, and {name} trains or validates on it")
    return texts


def _known_seconds(runs: Sequence[TrialRecord]) -> float | None:
    """Mean seconds of an epoch so far."""
    epochs = sum(run.epochs for run in runs)
    return sum(run.seconds for run in runs) / epochs if epochs else None
