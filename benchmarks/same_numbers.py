"""Do fast settings of `precision` end where the reference does? Whole trainings on several seeds.

    python -m benchmarks same_numbers --steps 2000 --seeds 0 1 2 --set precision.preset=auto

Trains hpcm_tiny from the sample weights on the sample photographs with `precision.preset:
reference` and with the settings of `--set`, on each seed, and compares the validation cost at the
end: what the settings change on one seed, beside what seeds differ by.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from statistics import stdev
from typing import Any

import torch

from benchmarks.record import write_record
from hpcm import TrainConfig, train
from hpcm.schema import overlay
from hpcm.training.precision import settle
from hpcm.yaml_files import override

METRICS = ("val_rd_cost", "val_bpp", "val_psnr")
REFERENCE = ["precision.preset=reference"]
EPOCHS = 4  # the last one alone is validated


def config(options: argparse.Namespace, seed: int, settings: Sequence[str]) -> TrainConfig:
    """One run: FAMO per scale and Adam, as the finest user of gradients there is."""
    plain: dict[str, Any] = {
        "model": {"name": "hpcm_tiny"},
        "start_from": "sample",
        "loss": {"lmbda": 0.0016},
        "balancer": {"name": "famo_per_scale"},
        "data": {
            "train": "sample",
            "val": "sample_val",
            "workers": 0,
            "cache": "memory",
            "batch_size": options.batch,
            "crops_per_epoch": options.batch * options.steps // EPOCHS,
        },
        "epochs": EPOCHS,
        "validate_every": EPOCHS,
        "seed": seed,
    }
    for text in [*settings, "precision.threads=1"]:
        plain = overlay(plain, override(text))
    return TrainConfig.from_plain(plain, "--set")


def end_of(cfg: TrainConfig) -> dict[str, float]:
    """The metrics of the last epoch, and the CPU-seconds of the whole run."""
    begin = time.process_time()
    *_, last = train(cfg)
    found = {metric: last.metrics[metric] for metric in METRICS}
    return found | {"cpu_seconds": round(time.process_time() - begin, 1)}


def compare(reference: Sequence[float], fast: Sequence[float]) -> dict[str, Any]:
    """The differences seed by seed, and the standard deviation over the seeds of the reference."""
    changes = [b - a for a, b in zip(reference, fast, strict=True)]
    return {
        "differences": [round(change, 6) for change in changes],
        "largest": round(max(map(abs, changes)), 6),
        "sd_of_seeds": round(stdev(reference), 6) if len(reference) > 1 else None,
    }


def main(arguments: Sequence[str]) -> None:
    """Print each end and the comparison; write ``results/bench/same_numbers-cpu.json``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--set", nargs="+", default=["precision.preset=auto"], metavar="KEY=VALUE")
    options = parser.parse_args(arguments)
    ends: dict[str, list[dict[str, float]]] = {"reference": [], "fast": []}
    for seed in options.seeds:
        for name, settings in (("reference", REFERENCE), ("fast", options.set)):
            ends[name].append(end_of(config(options, seed, settings)))
            print(f"seed {seed}, {name}: {ends[name][-1]}", flush=True)
    numbers = {
        metric: compare(*([end[metric] for end in ends[name]] for name in ("reference", "fast")))
        for metric in METRICS
    }
    for metric, value in numbers.items():
        print(f"{metric}: {value}")
    fast = settle(config(options, 0, options.set), torch.device("cpu"))
    write_record(
        "same_numbers",
        "cpu",
        {"options": vars(options), "fast": str(fast), **numbers, "ends": ends},
    )
