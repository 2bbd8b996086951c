"""The flags of ``python -m tuning ladder``; nothing slow is imported for them."""

from __future__ import annotations

import argparse
import math

from hpcm.commands.flags import add_imports
from tuning.spaces.defaults import STORAGE

TEXT = "train a config and its baseline at several lmbda and seeds: curves, BD-rate, plot"
EXAMPLE = """\
python -m tuning ladder search_spaces/best/phase3.yaml --against baseline \\
    --lmbdas 0.0018 0.0035 0.0067 0.013 0.025 0.0483 --seeds 1 2 --images kodak tecnick
python -m tuning ladder --resume last --seeds 3
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All of them."""
    add = parser.add_argument
    add("config", nargs="?", metavar="CONFIG", help="a run config, such as an export of a search")
    add(
        "--against",
        default="baseline",
        metavar="baseline|FILE",
        help="what it is compared with: the same run by adam and the plain sum (default), or"
        " another run config",
    )
    add("--lmbdas", type=_lmbda, nargs="+", metavar="X", help="one point of the curve each")
    add("--seeds", type=_seed, nargs="+", metavar="N", help="of the trainings (default 0)")
    add(
        "--images",
        nargs="+",
        metavar="NAME_OR_DIR",
        help="test sets, by name under $HPCM_DATA or as folders; never what a config saw",
    )
    add("--real", action="store_true", help="score real bitstreams, not the estimated rate")
    add(
        "--start-from",
        nargs="+",
        metavar="WEIGHTS",
        help="scratch, sample, or LMBDA=NAME for each lmbda, names under $HPCM_CHECKPOINTS"
        " (default: what the configs say)",
    )
    add(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="base.* of both run configs, resources.*, budget.*, faults.*, as in tune.py",
    )
    add("--resume", metavar="NAME|last", help="go on; --lmbdas and --seeds add to it")
    add("--profile", default="auto", choices=("auto", "cluster", "laptop"))
    add("--storage", default=STORAGE, metavar="DIR", help=f"of all experiments (default {STORAGE})")
    add("--checkpoints", metavar="DIR|URL", help="where checkpoints go, as in tune.py")
    add_imports(parser)
    add("--address", metavar="HOST:PORT|auto", help="a Ray cluster; default: start Ray here")
    add("--dry-run", action="store_true", help="check, show what it costs, create nothing")


def _lmbda(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text}: must be above 0")
    return value


def _seed(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text}: must be 0 or more")
    return value
