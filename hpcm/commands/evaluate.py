"""``evaluate CHECKPOINT ..``: score checkpoints on an image set and write a results file."""

from __future__ import annotations

import argparse
import sys

from hpcm import ConfigError
from hpcm.commands.arguments import check_file, device_name, images_at
from hpcm.commands.trained_model import load_model
from hpcm.evaluation.curves import join, over_seeds
from hpcm.evaluation.images import evaluate
from hpcm.evaluation.results import Results, check_table


def run(arguments: argparse.Namespace) -> int:
    """Score, print, and write what was asked for; see the module."""
    check_file(arguments.output, "--output")
    check_file(arguments.table, "--table")
    if arguments.table:
        check_table(arguments.table)
    device = device_name(arguments.device)
    images = images_at(arguments.images)
    name = arguments.name or (arguments.output.stem if arguments.output else "hpcm")
    points = []
    for path in arguments.checkpoints:
        model, source = load_model(path, arguments.model)
        found = evaluate(model.to(device), images, real=arguments.real, name=name, source=source)
        points.append(found)
        print(f"{path}: {_scores(found)}", flush=True)
    curve = _averaged(join(points, name))
    if "not scored" in (why := curve.conditions["ms-ssim-rgb"]):
        print(f"MS-SSIM: {why}")
    if arguments.output:
        print(f"written {curve.save(arguments.output)}")
    if arguments.table:
        print(f"written {curve.save_table(arguments.table)}")
    return 0


def _averaged(curve: Results) -> Results:
    """The mean over seeds, if that can be had; what was scored is never lost."""
    try:
        mean = over_seeds(curve)
    except ConfigError as error:
        print(f"warning: all points stay apart: {error}", file=sys.stderr)
        return curve
    if mean is not curve:
        lmbdas, seeds = len(mean.points), len(mean.points[0]["seed"])
        print(f"{lmbdas} points, each the mean of {seeds} seeds")
    return mean


def _scores(results: Results) -> str:
    shown = "  ".join(f"{key} {values[0]:.4f}" for key, values in results.results.items())
    return f"{shown}  ({results.description})"
