"""`tune.py` from its flags to its exit code: choose, check, show, search, summarise.

Exit code 0: the experiment is complete and has a best trial. 1: it broke off, or no trial has a
result, or what it resumes cannot go on now. 2: something to mend in a file or a flag; nothing was
created. 130: interrupted; resumable.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hpcm.parts import import_parts
from hpcm.schema import ConfigError
from hpcm.streams import make_streams_lossless, printable
from tuning.checkpoints.places import checkpoint_place
from tuning.flags import parse_flags
from tuning.ledger import folders
from tuning.ledger.provenance import git_commit
from tuning.on_ray.experiment import run_experiment
from tuning.on_ray.preflight import idle_text
from tuning.on_ray.private_api import in_a_submitted_job
from tuning.on_ray.profiles import choose_profile, joined
from tuning.page.report import REPORT_FILE, write_report
from tuning.results.export import REASON, export_best, source_of
from tuning.results.outcome import ExperimentResult
from tuning.search.reference_reuse import gather_references
from tuning.simulation.experiment import simulate_experiment
from tuning.spaces.defaults import STUDY_URL_VARIABLE
from tuning.spaces.documents import AUTO, profiles_of
from tuning.spaces.loading import load_space
from tuning.spaces.profile_choice import ProfileChoice
from tuning.spaces.refusals import NotNowError
from tuning.spaces.space import SearchSpace
from tuning.spaces.wording import label_line
from tuning.watch import (
    BAD_INPUT,
    COMPLETE,
    FAILED,
    INTERRUPTED,
    Watch,
    check_wandb,
    image_warnings,
    look_for_images,
    measure,
)
from tuning.watching.console import Console
from tuning.watching.cost import can_measure, estimate
from tuning.watching.dry_run import each_text, prior_lines, sample_lines, size_lines
from tuning.watching.study_storage import parse_study_url
from tuning.watching.summary import summary_lines

#: The profile of a simulation: which machine it runs on is no matter.
WHOLE = ProfileChoice("cluster", "a simulation needs no GPU")


def main(words: Sequence[str]) -> int:
    """Run `tune.py` with the command line ``words``; gives the exit code."""
    make_streams_lossless()
    console = Console()
    try:
        with image_warnings(console):
            flags = parse_flags(words)
            import_parts(flags.imports)
            if flags.simulate is not None:
                return _simulate(flags, console)
            return _dry_run(flags, console) if flags.dry_run else _search(flags, console)
    except ConfigError as error:
        print(f"tune.py: {error}", file=sys.stderr)
        later = isinstance(error, NotNowError) and any(w.startswith("--resume") for w in words)
        return FAILED if later else BAD_INPUT
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:  # a full disk, a closed pipe: nothing that a traceback explains
        with contextlib.suppress(OSError):
            print(f"tune.py: broke off: {printable(str(error))}", file=sys.stderr)
        return FAILED
    finally:
        with contextlib.suppress(OSError):
            console.stop()


def _dry_run(flags: argparse.Namespace, console: Console) -> int:
    _study_url(flags)
    if flags.checkpoints:
        checkpoint_place(flags.checkpoints)
    _, space = _open_space(flags, console)
    if flags.address is None and not can_measure(space):
        console.say(
            f"warning: a trial asks for {each_text(space)}, which this machine lacks: it needs"
            " a cluster that has them (--address, or a submitted job)",
            "yellow",
        )
    gather_references(space, folders.storage_folder(flags.storage, write=False))
    look_for_images(space, console)
    _show_plan(space, console)
    if idle := idle_text(space) if flags.address is None or joined() else "":
        console.say(label_line("idle", idle))
    for title, lines in (
        ("the prior config, trial 0:", prior_lines(space)),
        ("the prior and five samples (- is not active):", sample_lines(space)),
    ):
        console.say(f"\n{title}\n")
        for line in lines:
            console.say(line)
    return COMPLETE


def _simulate(flags: argparse.Namespace, console: Console) -> int:
    """No Ray, no images, no training; the profile is the cluster's unless another is asked for."""
    choice = WHOLE
    if flags.profile not in (None, AUTO):
        choice = ProfileChoice(flags.profile, "asked for with --profile")
    console.say(label_line("profile", str(choice)))
    space = _warned(load_space(flags.space, choice.name, flags.set), console)
    result = simulate_experiment(
        space,
        flags.simulate,
        storage=flags.storage,
        slots=flags.slots,
        provenance=_provenance(flags, choice),
        notify=lambda text: console.say(f"note: {text}", "yellow"),
    )
    return _conclude(result, console)


def _search(flags: argparse.Namespace, console: Console) -> int:
    folders.storage_folder(flags.storage)
    study_url = _study_url(flags)
    check_wandb()
    choice, space = _open_space(flags, console)
    if flags.resume is None:
        _show_plan(space, console)
    with Watch(console) as hooks:
        result = run_experiment(
            space,
            storage=flags.storage,
            resume=flags.resume,
            address=flags.address,
            study_url=study_url,
            checkpoints=flags.checkpoints,
            provenance=_provenance(flags, choice),
            **hooks,
        )
    return _conclude(result, console)


def _provenance(flags: argparse.Namespace, choice: ProfileChoice) -> dict[str, Any]:
    """What is kept with the experiment of how it was started."""
    return {
        "profile_reason": choice.reason,
        "overrides": flags.set,
        "git_commit": git_commit(),
    }


def _conclude(result: ExperimentResult, console: Console) -> int:
    """Export the best trial, show the summary, give the exit code."""
    export, problem = None, ""
    if result.best and result.complete:
        try:
            export = replace(export_best(result), submitted=in_a_submitted_job())
        except (ConfigError, OSError) as error:  # the space is gone, the disk is full
            problem = f"not exported: {error}"
    for line in ["", *summary_lines(result, export)]:
        console.say(line)
    if problem:
        resume = folders.command_text("python tune.py --resume", result.info.directory)
        console.say(f"{problem}{'' if result.info.simulated else f'; then {resume}'}", "red")
    if not result.interrupted:
        _write_report(result, console)
    return FAILED if problem else exit_code(result)


def _write_report(result: ExperimentResult, console: Console) -> None:
    """Write it beside the ledger; if that fails, the search has ended all the same."""
    try:
        path = write_report(result, result.info.directory / REPORT_FILE)
        console.say(f"report  {path}")
    except ConfigError as error:
        console.say(f"no report: {error}", "red")


def exit_code(result: ExperimentResult) -> int:
    """See the module's docstring."""
    if result.interrupted:
        return INTERRUPTED
    return COMPLETE if result.complete and result.best is not None else FAILED


def _study_url(flags: argparse.Namespace) -> str | None:
    """The URL of a database, if one is given: parsed, not opened. Raises :class:`ConfigError`."""
    text: str | None = flags.study_url or os.environ.get(STUDY_URL_VARIABLE) or None
    if text:
        parse_study_url(text)
    return text


def _open_space(flags: argparse.Namespace, console: Console) -> tuple[ProfileChoice, SearchSpace]:
    """The profile and the checked space; says which profile, and why, before anything else."""
    if flags.resume is not None:
        return _reopen_space(flags, console)
    choice = choose_profile(flags.profile or AUTO, flags.address, profiles_of(flags.space))
    console.say(label_line("profile", str(choice)))
    return choice, _warned(load_space(flags.space, choice.name, flags.set), console)


def _reopen_space(flags: argparse.Namespace, console: Console) -> tuple[ProfileChoice, SearchSpace]:
    """The space of the experiment to resume, read again from its file with the recorded overrides.

    Fills the flags in, so that `--resume NAME` continues what was started without other flags.
    """
    folder = folders.storage_folder(flags.storage)
    space_name = Path(flags.space).stem if flags.space else None
    directory = folders.find(folder, flags.resume, space_name)
    folders.refuse_other_parts(directory)
    recorded, facts = folders.read_experiment(directory), folders.read_provenance(directory)
    if not recorded.ranks_trials:
        command = f"{recorded.command} --resume {directory.name}"
        raise ConfigError(f"--resume {directory.name}: a ladder; {command}")
    flags.resume = directory.name
    flags.set = [*facts.get("overrides", []), *flags.set]
    choice = ProfileChoice(recorded.profile, str(facts.get("profile_reason", REASON)))
    if flags.profile not in (None, AUTO, recorded.profile):
        choice = choose_profile(flags.profile, flags.address, ())
    console.say(label_line("profile", str(choice)))
    source = flags.space or source_of(recorded)
    space = load_space(source, choice.name, flags.set, begun=recorded)
    return choice, _warned(space, console)


def _warned(space: SearchSpace, console: Console) -> SearchSpace:
    for warning in space.warnings:
        console.say(f"warning: {warning}", "yellow")
    return space


def _show_plan(space: SearchSpace, console: Console) -> None:
    for line in size_lines(space, estimate(space, measure(space, console))):
        console.say(line)
