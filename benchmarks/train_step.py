"""What a balanced step costs beside a plain one, as ratios measured in turn on one machine.

    python -m benchmarks train_step --model hpcm_tiny --batch 4 --rounds 10

Each round takes one step of every variant, so a slow moment of the machine meets all of them; the
ratio is that of the medians over rounds. Writes ``results/bench/train_step-<model>-<device>.json``.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import torch

from benchmarks.record import write_record
from hpcm import TrainConfig
from hpcm.training.run import Run
from hpcm.training.step import Stepper

VARIANTS: dict[str, dict[str, Any]] = {
    "plain (adam, sum)": {},
    "cautious_adam, sum": {"optimizer": {"name": "cautious_adam"}},
    "adam, famo": {"balancer": {"name": "famo"}},
    "adam, famo every 4th step": {"balancer": {"name": "famo", "weight_update_every": 4}},
    "adam, famo_per_scale": {"balancer": {"name": "famo_per_scale"}},
    "cautious_adam, famo_per_scale every 4th step": {
        "optimizer": {"name": "cautious_adam"},
        "balancer": {"name": "famo_per_scale", "weight_update_every": 4},
    },
}
STEPS = 4  # per round and variant, so that "every 4th step" has its share


def main(arguments: list[str]) -> None:
    """Measure all variants and print their cost relative to the plain step."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks train_step")
    parser.add_argument("--model", default="hpcm_tiny")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--autocast", choices=["none", "bfloat16"], default="none")
    options = parser.parse_args(arguments)

    batch = torch.rand(options.batch, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    batch = batch.to(options.device)
    base = {"model": {"name": options.model}, "precision": {"autocast": options.autocast}}
    steppers = {
        name: _stepper(TrainConfig.from_plain({**base, **variant}, name), options.device)
        for name, variant in VARIANTS.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in steppers}
    for round_number in range(options.rounds + 1):
        for name, stepper in steppers.items():
            elapsed = _time(stepper, batch)
            if round_number:  # the first round warms up
                seconds[name].append(elapsed)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    plain = next(iter(medians.values()))
    for name, median in medians.items():
        spread = f"{min(seconds[name]):.3f}-{max(seconds[name]):.3f}"
        print(f"{name:46} {median:8.3f} s/step  x{median / plain:.3f}  ({spread})")
    write_record(
        f"train_step-{options.model}",
        options.device,
        {"options": vars(options), "seconds_per_step": seconds, "median": medians},
    )


def _stepper(cfg: TrainConfig, device: str) -> Stepper:
    run = Run.build(cfg, None, device)
    run.apply_config()
    run.model.train()
    return Stepper(run)


def _time(stepper: Stepper, batch: torch.Tensor) -> float:
    _wait(batch)
    started = time.perf_counter()
    for _ in range(STEPS):
        stepper.step(batch, 0.0)
    _wait(batch)
    return (time.perf_counter() - started) / STEPS


def _wait(batch: torch.Tensor) -> None:
    if batch.is_cuda:
        torch.cuda.synchronize(batch.device)


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
