"""``evaluate CHECKPOINT ..``: score checkpoints on an image set and write a results file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hpcm import ConfigError
from hpcm.commands.arguments import add_device, add_imports, check_file, device_name, images_at
from hpcm.commands.trained_model import load_model
from hpcm.evaluation.curves import join, over_seeds
from hpcm.evaluation.images import evaluate
from hpcm.evaluation.results import Results, check_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What it takes."""
    parser.add_argument(
        "checkpoints",
        type=Path,
        nargs="+",
        metavar="CHECKPOINT",
        help="a run's folder, one of its checkpoints, or a file of weights; several make a curve, "
        "those of one lmbda and several seeds a point of it",
    )
    parser.add_argument("--images", required=True, metavar="NAME_OR_DIR", help="an image set")
    parser.add_argument(
        "--model", metavar="NAME", help="the variant, for files of weights: hpcm_base .."
    )
    rate = parser.add_mutually_exclusive_group()
    rate.add_argument("--estimated", action="store_true", help="the rate as estimated (default)")
    rate.add_argument("--real", action="store_true", help="code, count bytes, decode")
    parser.add_argument("--name", default="hpcm", help="the curve's name in the results file")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write a results file, JSON")
    parser.add_argument(
        "--table", type=Path, metavar="FILE", help="a row per image, CSV or Parquet"
    )
    add_imports(parser)
    add_device(parser)


def run(arguments: argparse.Namespace) -> int:
    """Score, print, and write what was asked for; see the module."""
    check_file(arguments.output, "--output")
    check_file(arguments.table, "--table")
    if arguments.table:
        check_table(arguments.table)
    device = device_name(arguments.device)
    images = images_at(arguments.images)
    points = []
    for path in arguments.checkpoints:
        model, source = load_model(path, arguments.model)
        found = evaluate(
            model.to(device), images, real=arguments.real, name=arguments.name, source=source
        )
        points.append(found)
        print(f"{path}: {_scores(found)}", flush=True)
    curve = _averaged(join(points, arguments.name))
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
