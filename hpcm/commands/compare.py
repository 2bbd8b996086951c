"""``compare ANCHOR TEST ..``: BD-rates between results files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from hpcm.evaluation.bd_rate import Method, compare
from hpcm.evaluation.results import Results


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add ``compare``."""
    parser = subparsers.add_parser("compare", help="BD-rate of results files against an anchor")
    parser.add_argument("anchor", type=Path, metavar="ANCHOR", help="a results file, JSON")
    parser.add_argument("tests", type=Path, metavar="TEST", nargs="+", help="results files, JSON")
    parser.add_argument("--metric", choices=("psnr", "ms_ssim_db"), default="psnr")
    parser.add_argument("--method", choices=get_args(Method), default="pchip")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print a line per test file; see the module."""
    anchor = Results.load(arguments.anchor)
    tests = [Results.load(path) for path in arguments.tests]
    found = [compare(anchor, test, arguments.metric, arguments.method) for test in tests]
    print(f"anchor {_described(anchor)}; {arguments.metric}, {arguments.method}")
    for test, row in zip(tests, found, strict=True):
        gain = "" if row.bd_quality is None else f"  {row.bd_quality:+.3f} dB"
        span = f"{row.low:.2f} to {row.high:.2f} dB"
        print(f"{_described(test)}: BD-rate {row.bd_rate:+.2f} %{gain}  over {span}")
    return 0


def _described(results: Results) -> str:
    """Name, set and kind of rate: what two numbers must share to be comparable."""
    rate = results.conditions.get("rate", "rate of unknown kind")
    return f"{results.name} ({results.dataset or 'set not named'}, {rate})"
