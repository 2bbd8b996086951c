"""The best trial as a run config that anyone trains without Ray, with its provenance on top."""

from __future__ import annotations

import platform
import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from hpcm.config import TrainConfig
from hpcm.evaluation.image_sets import image_set
from tuning.profiles import ProfileChoice
from tuning.records import ExperimentResult, TrialRecord
from tuning.retarget import full_command, repeat_command
from tuning.space import SearchSpace, load_space
from tuning.storage import read_provenance
from tuning.wording import columns, count_text, difference_text, metric_name, metric_text

PROXY = "laptop"  # its exports are proxies: a small model for a few minutes
FULL = "cluster"
PACKAGES = ("torch", "numpy", "ray", "optuna")
SHOWN_METRICS = ("val_rd_cost", "val_bpp", "val_psnr")


@dataclass(frozen=True)
class Export:
    """A written run config and the commands that use it."""

    config: TrainConfig
    stored: Path  # in the experiment's folder
    copied: Path  # beside the search space, in best/
    shown: Path  # the copy, relative to the working directory where it lies below it
    repeat: str  # the command that gives the trial's own numbers
    full: str  # the command that trains in full
    full_epochs: int  # its length
    is_proxy: bool


def export_best(result: ExperimentResult) -> Export:
    """Write the best trial's config to the experiment's folder and to ``best/`` beside its space.

    Raises ValueError where no trial has a result.
    """
    if result.best is None:
        raise ValueError(f"{result.info.name}: no trial has a result, so nothing can be exported")
    space, best = result.info.space, result.best
    proxy = space.profile == PROXY
    target = _target(space, best)
    epochs = best.epochs if proxy else target.epochs
    config = space.config(best.params, epochs=epochs)
    copied = best_path(space)
    shown = _shown(copied)
    export = Export(
        config=config,
        stored=result.info.directory / "best.yaml",
        copied=copied,
        shown=shown,
        repeat=repeat_command(shown, config, best.epochs),
        full=full_command(shown, config, target),
        full_epochs=target.epochs,
        is_proxy=proxy,
    )
    config.to_yaml(export.stored, header="\n".join(_header(result, export)))
    copied.parent.mkdir(exist_ok=True)
    shutil.copyfile(export.stored, copied)
    return export


def best_config(result: ExperimentResult) -> TrainConfig:
    """The best trial's run config, to the end of its schedules.

    Raises ValueError where no trial has a result.
    """
    if result.best is None:
        raise ValueError(f"{result.info.name}: no trial has a result")
    space = result.info.space
    return space.config(result.best.params, epochs=space.fidelity.horizon)


def best_path(space: SearchSpace) -> Path:
    """``best/phase3.yaml`` beside the space; ``best/phase3.laptop.yaml`` under another profile."""
    assert space.path is not None
    suffix = "" if space.profile == FULL else f".{space.profile}"
    return Path(space.path).parent / "best" / f"{space.name}{suffix}.yaml"


def _target(space: SearchSpace, best: TrialRecord) -> TrainConfig:
    """The full run of the trial's settings: the cluster's base, to the end of its schedules."""
    full = space
    if space.profile == PROXY:
        assert space.path is not None
        full = load_space(space.path, FULL)
    return full.config(best.params, epochs=full.fidelity.horizon)


def _shown(path: Path) -> Path:
    """Relative to the working directory where it lies below it."""
    here = Path.cwd()
    return path.resolve().relative_to(here) if path.resolve().is_relative_to(here) else path


def _header(result: ExperimentResult, export: Export) -> list[str]:
    """What the file is, where it comes from, what it reached, and how to run it."""
    info, space = result.info, result.info.space
    facts = read_provenance(info.directory)
    assert result.best is not None
    what = (
        f"PROXY: found under the profile {space.profile}; it ranks settings for that model only."
        if export.is_proxy
        else "The best run config of a search."
    )
    rows = [
        ("experiment", info.name),
        ("trial", f"{result.best.number} of {len(result.trials)}"),
        ("profile", str(ProfileChoice(space.profile, facts["profile_reason"]))),
        ("overrides", " ".join(facts["overrides"]) or "none"),
        ("written", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")),
        ("git commit", git_commit()),
        ("config digest", export.config.digest),
        ("space digest", space.digest),
        ("versions", ", ".join(versions())),
        *data_facts(export.config),
    ]
    return [
        what,
        "",
        *columns(rows),
        "",
        *_numbers(result),
        "",
        f"repeat the trial:  {export.repeat}",
        f"run it in full:    {export.full}",
    ]


def _numbers(result: ExperimentResult) -> list[str]:
    """The best trial beside the prior at the same epoch."""
    best = result.best
    assert best is not None
    rows = [("", f"epoch {best.epochs}", "prior config", "difference")]
    for metric in SHOWN_METRICS:
        value = best.last.get(metric)
        prior = result.prior.curve(metric).get(best.epochs) if result.prior else None
        rows.append(
            (
                metric_name(metric),
                metric_text(metric, value),
                metric_text(metric, prior),
                difference_text(metric, value, prior),
            )
        )
    return columns(rows)


def data_facts(config: TrainConfig) -> list[tuple[str, str]]:
    """Name, size and fingerprint of the images that gave the numbers."""
    roles = {"trained on": config.data.train, "validated on": config.data.val}
    sets = {role: image_set(name) for role, name in roles.items()}
    return [
        (role, f"{images.name}, {count_text(images.count, 'image')}, {images.fingerprint}")
        for role, images in sets.items()
    ]


def git_commit() -> str:
    """The commit of the code, marked where files differ from it; "unknown" outside a repository."""
    here = Path(__file__).parent
    try:
        commit = _git(here, "rev-parse", "HEAD")
        changed = _git(here, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit} with uncommitted changes" if changed else commit


def versions() -> list[str]:
    """Python and the packages that decide numbers, as ``name version``."""
    packages = [f"{name} {version(name)}" for name in PACKAGES]
    return [f"Python {platform.python_version()}", *packages]


def _git(directory: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(directory), *words], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
