"""How many crops a second one core loads, by where decoded images are kept.

    python -m benchmarks crops --images sample --rounds 9

CPU time of this process alone, loading batches without training on them; the kinds of
``data.cache`` take turns. Scaling to float32 is left out: it happens on the training's device.
Writes ``results/bench/crops-cpu.json``.
"""

from __future__ import annotations

import argparse
import statistics
import time
from itertools import islice
from typing import Any

from benchmarks.record import write_record
from hpcm.config import DataConfig
from hpcm.evaluation.image_sets import image_set
from hpcm.training.allocator import keep_freed_memory
from hpcm.training.data import CropLoader

CACHES = ("none", "memory", "disk")


def main(arguments: list[str]) -> None:
    """Measure, print, record."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks crops")
    parser.add_argument("--images", default="sample", help="an image set")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args(arguments)
    keep_freed_memory()  # as a training on a CPU does
    found = measure(options.images, options.batch, options.rounds)
    for cache, numbers in found.items():
        low, high = numbers["range"]
        print(f"{cache:8s} {numbers['crops_per_second']:8.0f} crops/s  [{low:.0f}, {high:.0f}]")
    write_record("crops", "cpu", {"options": vars(options), "caches": found})


def measure(images: str, batch: int, rounds: int) -> dict[str, dict[str, Any]]:
    """Crops a CPU second, the median of rounds and their range; by the kind of cache."""
    known = image_set(images)
    batches = {
        cache: CropLoader(known, _config(images, batch, cache), stride=64, seed=0).loaded(0)
        for cache in CACHES
    }
    rates: dict[str, list[float]] = {cache: [] for cache in CACHES}
    for index in range(rounds + 1):
        for cache, source in batches.items():
            count = 1 if cache == "none" else 20
            started = time.process_time()
            for _ in islice(source, count):
                pass
            if index:  # the first brings pages into memory
                rates[cache].append(batch * count / (time.process_time() - started))
    return {
        cache: {
            "crops_per_second": statistics.median(values),
            "range": [min(values), max(values)],
            "count": len(values),
        }
        for cache, values in rates.items()
    }


def _config(images: str, batch: int, cache: Any) -> DataConfig:
    return DataConfig(train=images, batch_size=batch, crops_per_epoch=10**6, workers=0, cache=cache)
