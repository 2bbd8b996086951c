"""A training step: its time, parts, memory, kernels and waits; beside another's, as a ratio.

    python -m benchmarks train_step --model hpcm_base --batch 1 --against DIR
    python -m benchmarks train_step --batch 4 --set balancer.name=famo --beside

``--against`` is a checkout of the authors' repository or of another commit of ours; ``--beside``
is this commit with other settings. A pair is two new processes that take turns, for two processes
of one code differ by up to a fifth. A ratio is the median over pairs, of process CPU time (on a
GPU: of device time) or of peak memory; its interval holds the median of all such pairs with 95 %
confidence, from the pairs' order alone. Writes
``results/bench/train_step-<model>-batch<B>-<device>.json``.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from benchmarks.kernels import kernels_of_a_step
from benchmarks.official import MODULES, is_official
from benchmarks.record import write_record
from hpcm.model import MODELS

ROOT = Path(__file__).parents[1]
#: Threads that spin while they wait would count as CPU time, most of it on a busy machine.
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
WARM_UP = 2  # calls of a new process that are not counted
Options = dict[str, Any]  # of a side


class Process:
    """A side (`benchmarks.step_side`) that runs until the context ends."""

    def __init__(self, **options: Any) -> None:
        self._options = options

    def __enter__(self) -> Process:
        command = [sys.executable, "-m", "benchmarks.step_side", json.dumps(self._options)]
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **PASSIVE},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self, what: str, times: int = 1) -> dict[str, Any]:
        """Do ``what`` (step, gradient, evaluate, parts) ``times`` times; what it took."""
        self.tell(what, times)
        return self.answer()

    def tell(self, what: str, times: int = 1) -> None:
        """As `ask`, without waiting for the answer."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"what": what, "times": times}) + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Of the request that was told first."""
        assert self._process.stdout
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit("a side ended; its reason stands above")
        found: dict[str, Any] = json.loads(answer)
        return found


def main(arguments: list[str]) -> None:
    """Measure, print, record; the last line is the ratio."""
    options = _parser().parse_args(arguments)
    if options.quick:
        options.pairs, options.steps = min(options.pairs, 2), 1
    numbers: dict[str, Any] = {
        "options": _plain(options),
        "kernels": kernels_of_a_step(options.model),
    }
    shared = {name: getattr(options, name) for name in ("model", "batch", "device", "threads")}
    ours: Options = {"code": str(ROOT), "official": False, "set": options.set, **shared}
    with Process(**ours) as side:
        numbers["ours"] = alone(side, options.batch, options.steps)
    print_alone(numbers)
    if (other := _other(options, shared)) is not None:
        numbers["pairs"] = pairs(ours, other, options.pairs)
    name = f"train_step-{options.model}-batch{options.batch}{options.label}"
    write_record(name, options.device, numbers)
    for what, found in numbers.get("pairs", {}).items():
        label = "ratio" if what == "step" else f"{what}: ratio"
        print(f"{label} {found['ratio']:.2f} [{found['low']:.2f}, {found['high']:.2f}]")


def alone(side: Process, batch: int, steps: int) -> dict[str, Any]:
    """Memory of forward and backward, time of a step and of its parts, by itself."""
    peak = side.ask("gradient")["peak"]  # before the optimiser's state is made
    side.ask("step", 2)
    taken = side.ask("step", steps)
    parts = side.ask("parts", steps)
    return {
        "peak_bytes": peak,
        "step": taken,
        "images_per_second": batch / taken["wall"],
        "precision": parts["precision"],
        "waits_per_step": parts["waits"],
        "parts_milliseconds": {name: 1e3 * s for name, s in parts["seconds"].items()},
        "teraflops": parts["flops"] / taken["wall"] / 1e12,
        "of_matmul": parts["flops"] / taken["wall"] / parts["matmul_flops_per_second"],
    }


def print_alone(numbers: dict[str, Any]) -> None:
    """What `alone` found, in words."""
    ours, kernels = numbers["ours"], numbers["kernels"]
    print(f"{ours['images_per_second']:.2f} images/s, {1e3 * ours['step']['wall']:.0f} ms a step")
    for name, milliseconds in ours["parts_milliseconds"].items():
        print(f"  {name:12} {milliseconds:8.1f} ms")
    print(f"kernels: {kernels['forward']} forward, {kernels['backward']} backward, if not compiled")
    print(f"precision: {ours['precision']}; {ours['waits_per_step']:.2f} waits a step")
    print(f"peak of forward and backward: {ours['peak_bytes'] / 2**20:.0f} MiB")
    print(f"{ours['teraflops']:.3f} TFLOP/s, {100 * ours['of_matmul']:.0f} % of a matrix product's")


def pairs(ours: Options, other: Options, count: int) -> dict[str, Any]:
    """Ratios of ours over the other's, from ``count`` pairs: of peak memory, and of times."""
    taken: dict[str, list[tuple[float, float]]] = {"peak": [], "evaluate": [], "step": []}
    for _ in range(count):
        with Process(**ours) as first, Process(**other) as second:
            sides = (first, second)
            one, two = (side.ask("gradient")["peak"] for side in sides)  # before there is a state
            taken["peak"].append((one, two))
            for what in ("evaluate", "step"):
                taken[what].append(in_turn(*sides, what))
    return {what: _ratio(found) for what, found in taken.items()}


def in_turn(first: Process, second: Process, what: str) -> tuple[float, float]:
    """Seconds of one call on each side, the mean of two; ``first`` comes first and last."""
    for side in (first, second):
        side.ask(what, WARM_UP)
    times = [side.ask(what)["time"] for side in (first, second, second, first)]
    return (times[0] + times[3]) / 2, (times[1] + times[2]) / 2


def _ratio(pairs: list[tuple[float, float]]) -> dict[str, Any]:
    ratios = sorted(one / other for one, other in pairs)
    low, high = interval(ratios)
    return {
        "ratio": statistics.median(ratios),
        "low": low,
        "high": high,
        "count": len(ratios),
        "ratios": ratios,
        "medians": [statistics.median(side) for side in zip(*pairs, strict=True)],
    }


def interval(ordered: list[float], confidence: float = 0.95) -> tuple[float, float]:
    """Bounds of the median of all, from ``ordered`` alone; their range if they are too few."""
    n, tail = len(ordered), 0.0
    for rank in range(n // 2):  # that many are below the median with the binomial's probability
        tail += math.comb(n, rank) / 2**n
        if 2 * tail > 1 - confidence:
            rank = max(rank - 1, 0)
            return ordered[rank], ordered[n - 1 - rank]
    return ordered[0], ordered[-1]


def _plain(options: argparse.Namespace) -> dict[str, Any]:
    """For a record: no path of this machine."""
    against = None if options.against is None else options.against.name
    return {**vars(options), "against": against}


def _other(options: argparse.Namespace, shared: Options) -> Options | None:
    if options.against is not None:
        folder = options.against.resolve()
        official = is_official(folder)
        if not official and not (folder / "hpcm").is_dir():
            raise SystemExit(f"--against {folder}: neither the authors' checkout nor one of ours")
        if official and options.model not in MODULES:
            raise SystemExit(f"--model {options.model}: the authors have {', '.join(MODULES)}")
        return {"code": str(folder), "official": official, "set": [], **shared}
    if options.beside is not None:
        return {"code": str(ROOT), "official": False, "set": options.beside, **shared}
    return None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks train_step")
    parser.add_argument("--model", choices=sorted(MODELS), default="hpcm_tiny")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2, help="of torch, on a CPU")
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--steps", type=int, default=3, help="for the times of the parts")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="our settings")
    parser.add_argument("--beside", nargs="*", metavar="KEY=VALUE", help="compare with these")
    parser.add_argument("--against", type=Path, metavar="DIR", help="compare with a checkout")
    parser.add_argument("--label", default="", help="appended to the record's name")
    parser.add_argument("--quick", action="store_true", help="two pairs, to see that it works")
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
