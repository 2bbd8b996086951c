"""The flags of every command. `--help` imports no command, so it needs no torch.

Each function adds those of one command to its parser; what only its help needs is imported there.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import get_args

CODED = ".hpcm"  # how the names of bitstreams end
INSPECTED = 8  # images in one go: a sheet of more is not looked at
CHECKPOINT = "a run's folder, one of its checkpoints, or a file of weights"
Parser = argparse.ArgumentParser


def train(parser: Parser) -> None:
    """One run: its config, its folder, and where its metrics go."""
    from hpcm.commands.loggers import LOGGERS

    parser.add_argument("config", type=Path, metavar="CONFIG", help="a run config, YAML")
    _add_set(parser, "change fields of the config: loss.lmbda=0.025 epochs=10")
    parser.add_argument("--epochs", type=int, metavar="N", help="stop after N; bends no schedule")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="default: runs/<config>-<date>-<time>"
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="continue the run in --output, or the latest one of this config in runs/",
    )
    parser.add_argument(
        "--save-every",
        type=at_least(1),
        default=1,
        metavar="K",
        help="epochs between checkpoints",
    )
    parser.add_argument(
        "--log",
        nargs="+",
        action="extend",
        default=[],
        choices=sorted(LOGGERS),
        help="send the metrics of each epoch there as well",
    )
    add_imports(parser)
    _add_device(parser)


def evaluate(parser: Parser) -> None:
    """Checkpoints, the images they are scored on, and where the scores go."""
    parser.add_argument(
        "checkpoints",
        type=Path,
        nargs="+",
        metavar="CHECKPOINT",
        help=f"{CHECKPOINT}; several make a curve, those of one lmbda and several seeds a point"
        " of it",
    )
    parser.add_argument("--images", required=True, metavar="NAME_OR_DIR", help="an image set")
    parser.add_argument(
        "--model", metavar="NAME", help="the variant, for files of weights: hpcm_base .."
    )
    rate = parser.add_mutually_exclusive_group()
    rate.add_argument("--estimated", action="store_true", help="the rate as estimated (default)")
    rate.add_argument("--real", action="store_true", help="code, count bytes, decode")
    parser.add_argument(
        "--name", help="the curve's name in the results file (default: the file's own)"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="write a results file, JSON")
    parser.add_argument(
        "--table", type=Path, metavar="FILE", help="a row per image, CSV or Parquet"
    )
    add_imports(parser)
    _add_device(parser)


def compare(parser: Parser) -> None:
    """Results files, and how their curves are compared."""
    from hpcm.evaluation.bd_rate import Method
    from hpcm.evaluation.rd_plot import PLOTS
    from hpcm.evaluation.scores import METRICS

    parser.add_argument("anchor", type=Path, metavar="ANCHOR", help="a results file, JSON")
    parser.add_argument("tests", type=Path, metavar="TEST", nargs="+", help="results files, JSON")
    parser.add_argument(
        "--anchors",
        type=Path,
        nargs="+",
        default=[],
        metavar="ANCHOR",
        help="anchors on further image sets; each test is compared on its own set",
    )
    parser.add_argument("--metric", choices=METRICS, default="psnr")
    parser.add_argument("--method", choices=get_args(Method), default="pchip")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help=f"the curves, as {', '.join(PLOTS)}"
    )
    parser.add_argument(
        "--beside",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="results files that the plot shows too, such as results/kodak/*.json",
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="a row per BD-rate")


def inspect(parser: Parser) -> None:
    """One model, a few images, a folder for the pictures."""
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help=CHECKPOINT)
    parser.add_argument(
        "images",
        metavar="IMAGES",
        help=f"an image set or a folder; its first {INSPECTED} are taken",
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="a new folder"
    )
    _add_variant(parser, "the variant, of weights")
    add_imports(parser)
    _add_device(parser)


def compress(parser: Parser) -> None:
    """Images, and how they are coded."""
    parser.add_argument("files", type=Path, nargs="+", metavar="IMAGE", help="PNG, JPEG, WebP ..")
    parser.add_argument(
        "--portable",
        action="store_true",
        help="decodable on machines that round differently, for a few per cent more bytes",
    )
    parser.add_argument(
        "--threads", type=at_least(1), metavar="N", help="CPU threads; a decoder uses as many"
    )
    _add_codec(parser)


def decompress(parser: Parser) -> None:
    """Bitstreams."""
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help=f"*{CODED}")
    _add_codec(parser)


def convert(parser: Parser) -> None:
    """From which weights to which file."""
    parser.add_argument(
        "checkpoint",
        type=Path,
        metavar="CHECKPOINT",
        help=f"{CHECKPOINT}, ours or the authors'",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="what to write; must not exist")
    parser.add_argument(
        "--to",
        choices=("upstream", "ours"),
        required=True,
        help="upstream: a bare state dict that the authors' code loads strictly; "
        "ours: the same with the variant's name, code tables and where it comes from",
    )
    _add_variant(parser, "the variant, if not recognised")
    add_imports(parser)


def data(parser: Parser) -> None:
    """A set of images."""
    parser.add_argument("name", metavar="NAME", help="a set under $HPCM_DATA, sample, or a folder")
    parser.add_argument(
        "--cache",
        nargs="?",
        const="show",
        choices=("show", "build", "remove"),
        help="the frames that runs with data.cache=disk share: where, how many GB; build or remove",
    )


def schedule(parser: Parser) -> None:
    """A run config, and how its schedules are shown."""
    parser.add_argument("config", type=Path, metavar="CONFIG", help="a run config, YAML")
    _add_set(parser, "change fields")
    parser.add_argument("--rows", type=at_least(2), default=21, metavar="N", help="rows to print")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw all epochs, .png .svg or .pdf"
    )
    add_imports(parser)


#: What each command is for, and what adds its flags. Its module in `hpcm.commands` has its name and
#: ``run(arguments)``, which returns the exit code.
COMMANDS: dict[str, tuple[str, Callable[[Parser], None]]] = {
    "train": ("train one run config", train),
    "evaluate": ("bpp, PSNR and MS-SSIM of checkpoints", evaluate),
    "compare": ("BD-rate of results files against an anchor", compare),
    "inspect": ("where the bits go, and the error stays", inspect),
    "compress": ("images to bitstreams", compress),
    "decompress": ("bitstreams to PNG images", decompress),
    "convert": ("weights to and from the authors' files", convert),
    "data": ("count, sizes and fingerprint of an image set", data),
    "schedule": ("rates, gammas, band and term over a run", schedule),
}


def at_least(least: int) -> Callable[[str], int]:
    """The type of a flag that takes whole numbers from ``least`` up."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text}: must be a whole number, {least} or more")
        return int(text)

    return read


def _add_codec(parser: Parser) -> None:
    """What compress and decompress share: where to write, and with which weights."""
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--checkpoint", type=Path, required=True, metavar="CHECKPOINT", help=CHECKPOINT
    )
    _add_variant(parser, "the variant, of weights")
    add_imports(parser)
    _add_device(parser)


def _add_set(parser: Parser, text: str) -> None:
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help=text
    )


def _add_variant(parser: Parser, text: str) -> None:
    parser.add_argument("--model", metavar="NAME", help=text)


def _add_device(parser: Parser) -> None:
    parser.add_argument("--device", help="cpu, cuda or cuda:N; default: a GPU if there is one")


def add_imports(parser: Parser) -> None:
    """``--import``: files with parts of the user's own, which `main` runs before the command."""
    parser.add_argument(
        "--import",
        nargs="+",
        action="extend",
        default=[],
        type=Path,
        dest="imports",
        metavar="FILE",
        help="Python files that register parts of your own (CONTRIBUTING.md)",
    )
