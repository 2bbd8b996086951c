"""``evaluate CHECKPOINT ..``: score checkpoints on an image set and write a results file."""

from __future__ import annotations

import argparse
from pathlib import Path

from hpcm.commands.arguments import add_device, check_file, device_name, images_at
from hpcm.commands.trained_model import load_model
from hpcm.evaluation.images import evaluate
from hpcm.evaluation.results import Results, check_table, join
from hpcm.model import MODELS


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add ``evaluate``."""
    parser = subparsers.add_parser("evaluate", help="bpp, PSNR and MS-SSIM of checkpoints")
    parser.add_argument(
        "checkpoints",
        type=Path,
        nargs="+",
        metavar="CHECKPOINT",
        help="a run's folder, one of its checkpoints, or a file of weights; several make a curve",
    )
    parser.add_argument("--images", required=True, metavar="NAME_OR_DIR", help="an image set")
    parser.add_argument("--model", choices=sorted(MODELS), help="the variant, for files of weights")
    rate = parser.add_mutually_exclusive_group()
    rate.add_argument("--estimated", action="store_true", help="the rate as estimated (default)")
    rate.add_argument("--real", action="store_true", help="code, count bytes, decode")
    parser.add_argument("--name", default="hpcm", help="the curve's name in the results file")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write a results file, JSON")
    parser.add_argument(
        "--table", type=Path, metavar="FILE", help="a row per image, CSV or Parquet"
    )
    add_device(parser)
    parser.set_defaults(run=run)


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
    curve = join(points, arguments.name)
    if arguments.output:
        print(f"written {curve.save(arguments.output)}")
    if arguments.table:
        print(f"written {curve.save_table(arguments.table)}")
    return 0


def _scores(results: Results) -> str:
    shown = "  ".join(f"{key} {values[0]:.4f}" for key, values in results.results.items())
    return f"{shown}  ({results.description})"
