"""What a cautious step costs beside torch's Adam, for the parameters of a model.

    python -m benchmarks optimizer_step --model hpcm_base --rounds 10

Each round takes a step of every optimizer, so a slow moment of the machine meets all of them; a
ratio is that of the fastest steps. Writes ``results/bench/optimizer_step-<device>.json``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.record import write_record
from hpcm.model import MODELS, build_model
from hpcm.optimizers import CautiousAdam

ANCHOR = "torch Adam, foreach"
OPTIMIZERS: dict[str, Callable[[list[Tensor]], torch.optim.Optimizer]] = {
    ANCHOR: lambda params: torch.optim.Adam(params, foreach=True),
    "torch Adam, fused": lambda params: torch.optim.Adam(params, fused=True),
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
    ratios = {name: best / seconds[ANCHOR] for name, best in seconds.items()}
    for name, best in seconds.items():
        print(f"{name:20s} {1e3 * best:9.2f} ms  {ratios[name]:6.3f} x")
    numbers = {"model": options.model, "tensors": len(shapes), "values": values}
    numbers |= {"rounds": options.rounds, "milliseconds": {n: 1e3 * s for n, s in seconds.items()}}
    write_record("optimizer_step", options.device, {**numbers, "ratio": ratios})


def measure(shapes: list[torch.Size], rounds: int, device: str) -> dict[str, float]:
    """Seconds of the fastest step of every optimizer, taken in turn on the same tensors."""
    generator = torch.Generator(device).manual_seed(0)
    params = [torch.randn(s, generator=generator, device=device).requires_grad_() for s in shapes]
    for param in params:
        param.grad = torch.randn(param.shape, generator=generator, device=device)
    optimizers = {name: build(params) for name, build in OPTIMIZERS.items()}
    best = dict.fromkeys(optimizers, float("inf"))
    for round_number in range(rounds + 1):
        for name, optimizer in optimizers.items():
            elapsed = _time(optimizer, device)
            if round_number:  # the first round makes the states
                best[name] = min(best[name], elapsed)
    return best


def _time(optimizer: torch.optim.Optimizer, device: str) -> float:
    started = time.perf_counter()
    optimizer.step()
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started
