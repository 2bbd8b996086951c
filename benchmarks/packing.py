"""How many images a second several trainings on one device take together.

    python -m benchmarks packing --models hpcm_tiny hpcm_base --trials 1 2 4

Each is a process of its own, as trials are. All begin at once and take as many steps; the time is
until the last has ended. Writes ``results/bench/packing-<device>.json``.
"""

from __future__ import annotations

import argparse
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from benchmarks.record import write_record
from benchmarks.train_step import Process
from hpcm.model import MODELS

ROOT = Path(__file__).parents[1]


def main(arguments: list[str]) -> None:
    """Measure, print, record."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks packing")
    parser.add_argument("--models", nargs="+", choices=sorted(MODELS), default=["hpcm_tiny"])
    parser.add_argument("--trials", nargs="+", type=int, default=[1, 2, 4])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="of the runs")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(arguments)
    found = {}
    for model in options.models:
        rates = {count: together(model, count, options) for count in options.trials}
        found[model] = rates
        for count, rate in rates.items():
            alone = rate / rates[options.trials[0]]
            print(
                f"{model}: {count} trials  {rate:8.2f} images/s together, {alone:.2f} x", flush=True
            )
    write_record("packing", options.device, {"options": vars(options), "images_per_second": found})


def together(model: str, count: int, options: argparse.Namespace) -> float:
    """Images a second of ``count`` trainings, after two steps to warm up."""
    side: dict[str, Any] = {"code": str(ROOT), "official": False, "threads": 1}
    side |= {"model": model, "batch": options.batch, "device": options.device, "set": options.set}
    with ExitStack() as stack:
        processes = [stack.enter_context(Process(**side)) for _ in range(count)]
        for process in processes:
            process.tell("step", 2)
        for process in processes:
            process.answer()
        started = time.perf_counter()
        for process in processes:
            process.tell("step", options.steps)
        for process in processes:
            process.answer()
        seconds = time.perf_counter() - started
    return count * options.steps * options.batch / seconds
