"""``convert CHECKPOINT FILE``: weights as the authors publish theirs, or as ours."""

from __future__ import annotations

import argparse

from hpcm import ConfigError
from hpcm.commands.trained_model import load_model
from hpcm.model.checkpoint import save_weights


def run(arguments: argparse.Namespace) -> int:
    """Convert; see the module."""
    if arguments.file.exists():
        raise ConfigError(f"{arguments.file}: exists already; give another name, or remove it")
    model, about = load_model(arguments.checkpoint, arguments.model)
    variant = about.pop("model")
    if arguments.to == "upstream":
        save_weights(model, arguments.file)
    else:
        model.update()
        save_weights(model, arguments.file, variant, about)
    print(f"written {arguments.file}: {variant}, {arguments.to}")
    return 0
