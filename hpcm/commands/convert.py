"""``convert CHECKPOINT FILE``: weights as the authors publish theirs, or as ours."""

from __future__ import annotations

import argparse
from pathlib import Path

from hpcm import ConfigError
from hpcm.commands.arguments import add_imports
from hpcm.commands.trained_model import load_model
from hpcm.model import MODELS
from hpcm.model.checkpoint import save_weights


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What it takes."""
    parser.add_argument(
        "checkpoint",
        type=Path,
        metavar="CHECKPOINT",
        help="a run's folder, one of its checkpoints, or a file of weights, ours or the authors'",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="what to write; must not exist")
    parser.add_argument(
        "--to",
        choices=("upstream", "ours"),
        required=True,
        help="upstream: a bare state dict that the authors' code loads strictly; "
        "ours: the same with the variant's name, code tables and where it comes from",
    )
    parser.add_argument("--model", choices=sorted(MODELS), help="the variant, if not recognised")
    add_imports(parser)


def run(arguments: argparse.Namespace) -> int:
    """Convert; see the module."""
    if arguments.file.exists():
        raise ConfigError(f"{arguments.file}: exists already")
    model, about = load_model(arguments.checkpoint, arguments.model)
    variant = about.pop("model")
    if arguments.to == "upstream":
        save_weights(model, arguments.file)
    else:
        model.update()
        save_weights(model, arguments.file, variant, about)
    print(f"written {arguments.file}: {variant}, {arguments.to}")
    return 0
