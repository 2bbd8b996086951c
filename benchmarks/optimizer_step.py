"""What a cautious step costs beside torch's Adam, for the parameters of a model.

    python -m benchmarks optimizer_step --model hpcm_base --rounds 10

Each round takes a step of every optimizer, in every other round in the opposite order. A ratio is
the median over rounds, to torch's fused Adam in the same round: of CPU time on a CPU, of time
between two waits on a GPU. Writes ``results/bench/optimizer_step-<device>.json``.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.record import write_record
from hpcm.model import MODELS, build_model
from hpcm.optimizers import CautiousAdam

ANCHOR = "torch Adam, fused"
OPTIMIZERS: dict[str, Callable[[list[Tensor]], torch.optim.Optimizer]] = {
    ANCHOR: lambda params: torch.optim.Adam(params, fused=True),
    "torch Adam, foreach": lambda params: torch.optim.Adam(params, foreach=True),
    "cautious_adam": lambda params: CautiousAdam().build(params),
}


def main(arguments: list[str]) -> None:
    """Measure all optimizers and print their cost relative to torch's foreach Adam."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks optimizer_step")
    parser.add_argument("--model", choices=sorted(MODELS), default="hpcm_base")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(arguments)

    shapes = [parameter.shape for parameter in build_model(options.model).parameters()]
    values = sum(shape.numel() for shape in shapes)
    print(f"{options.model}: {len(shapes)} tensors, {values / 1e6:.1f} M values")
    seconds = measure(shapes, options.rounds, options.device)
    ratios = {}
    for name, taken in seconds.items():
        pairs = [one / other for one, other in zip(taken, seconds[ANCHOR], strict=True)]
        ratios[name] = {"median": statistics.median(pairs), "range": [min(pairs), max(pairs)]}
        middle = 1e3 * statistics.median(taken)
        low, high = ratios[name]["range"]
        ratio = ratios[name]["median"]
        print(f"{name:20s} {middle:9.2f} ms  {ratio:6.3f} x  [{low:.3f}, {high:.3f}]")
    numbers = {"model": options.model, "tensors": len(shapes), "values": values}
    numbers |= {"rounds": options.rounds, "seconds": seconds}
    write_record("optimizer_step", options.device, {**numbers, "ratio": ratios})


def measure(shapes: list[torch.Size], rounds: int, device: str) -> dict[str, list[float]]:
    """Seconds of each step of every optimizer, taken in turn on the same tensors."""
    generator = torch.Generator(device).manual_seed(0)
    params = [torch.randn(s, generator=generator, device=device).requires_grad_() for s in shapes]
    for param in params:
        param.grad = torch.randn(param.shape, generator=generator, device=device)
    optimizers = {name: build(params) for name, build in OPTIMIZERS.items()}
    seconds: dict[str, list[float]] = {name: [] for name in optimizers}
    for number in range(rounds + 1):
        order = list(optimizers.items())
        for name, optimizer in order if number % 2 else reversed(order):
            elapsed = _time(optimizer, device)
            if number:  # the first round makes the states
                seconds[name].append(elapsed)
    return seconds


def _time(optimizer: torch.optim.Optimizer, device: str) -> float:
    on_gpu = torch.device(device).type == "cuda"
    clock = time.perf_counter if on_gpu else time.process_time
    started = clock()
    optimizer.step()
    if on_gpu:
        torch.cuda.synchronize()
    return clock() - started
