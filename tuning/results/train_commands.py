"""The commands of an export: one repeats the trial, one trains the found settings in full."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

import hpcm
from hpcm.parts import import_text

TRAIN = "python -m hpcm train"
LADDER = "python -m tuning ladder"
SAMPLE = "sample"  # as start_from: the codec that comes with the package, by lmbda
YOUR_SET = "YOUR_SET"  # where the user names images
OWN_STEPS = (0.25, 0.5, 1, 2)  # of a proxy's lmbda: a BD-rate needs four points

#: Of the published models, by the loss's metric: HPCM's training script, and its authors' word.
LMBDAS = {
    "mse": (0.0018, 0.0035, 0.0067, 0.013, 0.025, 0.0483),
    "ms_ssim": (2.4, 4.58, 8.73, 16.64, 31.73, 60.5),
}


def repeat_command(file: Path, config: hpcm.TrainConfig, trained: int) -> str:
    """The command that repeats the trial's numbers, epoch by epoch, from the export ``config``."""
    cut = f" --epochs {trained}" if trained != config.epochs else ""
    return f"{TRAIN} {shlex.quote(str(file))}{cut}{import_text()}"


def repeat_commands(
    file: Path, config: hpcm.TrainConfig, ways: Sequence[tuple[int, hpcm.TrainConfig]]
) -> str:
    """The same for a trial whose config changed: one command after the other, on one run.

    ``ways``: up to which epoch it trained with which config, ascending.
    """
    commands = []
    for place, (last, used) in enumerate(ways):
        sets = _sets(config, used)
        words = ["--set", *sets] if sets else []
        words += ["--epochs", str(last), "--output", f"runs/{file.stem}-repeated"]
        words += ["--resume"] if place else []
        commands.append(f"{TRAIN} {shlex.join([str(file), *words])}{import_text()}")
    return " && ".join(commands)


def full_command(file: Path, config: hpcm.TrainConfig, target: hpcm.TrainConfig) -> str:
    """The command that trains ``config`` in full as ``target``: what differs becomes ``--set``."""
    sets = _sets(config, target)
    return f"{TRAIN} {shlex.join([str(file), *(['--set', *sets] if sets else [])])}{import_text()}"


def ladder_command(file: Path, config: hpcm.TrainConfig, target: hpcm.TrainConfig) -> str:
    """The command that trains both ``target`` and baseline at every published lmbda, on 2 seeds."""
    sets = [f"base.{text}" for text in _sets(config, target)]
    more = ["--images", "kodak", *(["--set", *sets] if sets else [])]
    return _ladder(file, LMBDAS[target.loss.metric], more)


def own_ladder_command(file: Path, config: hpcm.TrainConfig) -> str:
    """The same for ``config`` as it is, at four lmbda around its own; the user's images judge."""
    start = ["--start-from", SAMPLE] if config.start_from == SAMPLE else []
    lmbdas = [config.loss.lmbda * step for step in OWN_STEPS]
    return _ladder(file, lmbdas, [*start, "--images", YOUR_SET])


def _ladder(file: Path, lmbdas: Sequence[float], more: Sequence[str]) -> str:
    words = [str(file), "--against", "baseline", "--lmbdas", *(f"{lmbda:g}" for lmbda in lmbdas)]
    return f"{LADDER} {shlex.join([*words, '--seeds', '1', '2', *more])}{import_text()}"


def _sets(config: hpcm.TrainConfig, other: hpcm.TrainConfig) -> list[str]:
    """What ``--set`` takes to make ``other`` of ``config``."""
    changes = differences(config.to_plain(), other.to_plain())
    return [f"{path}={plain_text(value)}" for path, value in changes.items()]


def differences(
    one: Mapping[str, Any], other: Mapping[str, Any], prefix: str = ""
) -> dict[str, Any]:
    """Leaves of ``other`` that are not so in ``one``, by path."""
    found: dict[str, Any] = {}
    for key, value in other.items():
        before = one.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            found |= differences(before, value, f"{prefix}{key}.")
        elif value != before:
            found[f"{prefix}{key}"] = value
    return found


def plain_text(value: Any) -> str:
    """A value as one line of YAML, as ``--set`` reads it back."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10**6)
    return text.strip().removesuffix("...").strip()
