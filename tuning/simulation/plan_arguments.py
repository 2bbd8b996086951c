"""The flags of ``python -m tuning plan``; nothing slow is imported for them."""

from __future__ import annotations

import argparse
import math

from hpcm.commands.flags import add_imports

TEXT = "what search the given device-hours should buy, by simulating a dozen"
SOURCES = ("family:good", "family:misleading")
EXAMPLE = """\
python -m tuning plan phase3 --gpu-hours 4000 --gpus 8 --epoch-seconds 260 --write my_phase3.yaml
python -m tuning plan phase3 --profile laptop --cpu-hours 2 --cpus 2
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All of them."""
    add = parser.add_argument
    add("space", metavar="SPACE", help="a name in search_spaces/ or a file")
    add("--profile", metavar="NAME", default="cluster", help="default: cluster")
    add("--set", metavar="KEY=VALUE", nargs="+", action="extend", default=[], help="as of tune.py")
    hours = parser.add_mutually_exclusive_group(required=True)
    for unit in ("gpu", "cpu"):
        text = f"what a search may train in all, if trials run on {unit.upper()}s"
        hours.add_argument(f"--{unit}-hours", type=_above_0, metavar="H", help=text)
    devices = parser.add_mutually_exclusive_group(required=True)
    for unit in ("gpus", "cpus"):
        devices.add_argument(f"--{unit}", type=_above_0, metavar="N", help="there at a time")
    seconds = parser.add_mutually_exclusive_group()
    text = "of the prior config (default: measured here)"
    seconds.add_argument("--epoch-seconds", type=_above_0, metavar="S", help=text)
    text = "the same, by the step of a record of python -m benchmarks train_step"
    seconds.add_argument("--bench", metavar="FILE", help=text)
    add(
        "--simulate",
        nargs="+",
        metavar="SOURCE",
        default=list(SOURCES),
        help="curves, as of tune.py --simulate: family:NAME, curves:FILE[:WORKLOAD], the folder of"
        f" an experiment (default: {' '.join(SOURCES)})",
    )
    add("--seeds", type=_count, default=5, metavar="N", help="searches on each source (default 5)")
    add("--start-seconds", type=_above_0, metavar="S", default=10.0,
        help="of every start of a trial (default 10)")  # fmt: skip
    add("--target", type=_above_0, metavar="PERCENT",
        help="the cheapest plan that comes so near to the best config (default: as near as the best"
        " plan, and its standard error)")  # fmt: skip
    add("--write", metavar="FILE", help="the cheapest plan as a search-space file")
    add_imports(parser)


def _above_0(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text}; must be above 0")
    return value


def _count(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 1000:
        raise argparse.ArgumentTypeError(f"{text}; must be 1 to 1000")
    return value
