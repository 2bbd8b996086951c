"""Do fast settings of `precision` end where the reference does? Whole trainings on several seeds.

    python -m benchmarks same_numbers --steps 2000 --seeds 0 1 2

Trains hpcm_tiny from the sample weights on the sample photographs with `precision.preset:
reference`, with `auto`, and with `auto` as it is on a GPU, in bfloat16; and compares the validation
cost at the end: what the settings change on one seed, and what seeds differ by. A CPU without units
for bfloat16 takes ten times as long; here it adds up in float32 and rounds, as a GPU does.

Each end is kept in runs/same_numbers.json, so the same command goes on where it was stopped, and
another process may train other seeds meanwhile.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from statistics import stdev
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from benchmarks.record import write_record
from hpcm import TrainConfig, train
from hpcm.atomic_files import write_atomically
from hpcm.schema import overlay
from hpcm.training.precision import SlowPrecision, settle
from hpcm.yaml_files import override

METRICS = ("val_rd_cost", "val_bpp", "val_psnr")
REFERENCE = "reference"
SETTINGS = {
    REFERENCE: ["precision.preset=reference"],
    "auto": ["precision.preset=auto"],
    "auto_bfloat16": ["precision.preset=auto", "precision.autocast=bfloat16"],
}
PRODUCTS = (
    torch.ops.aten.mm.default,
    torch.ops.aten.bmm.default,
    torch.ops.aten.addmm.default,
    torch.ops.aten.convolution.default,
    torch.ops.aten.convolution_backward.default,
)
PRODUCT_IN_PLACE = torch.ops.aten.addmm_.default
KEPT = Path("runs/same_numbers.json")
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


class ProductsOfFloats(TorchDispatchMode):
    """Inside, products of bfloat16 are added up in float32, and their results rounded."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """The operation, or what it gives for the same numbers as float32."""
        if torch.bfloat16 in {part.dtype for part in args if isinstance(part, Tensor)}:
            if func in PRODUCTS:
                return tree_map(_rounded, func(*map(_wide, args)))
            if func is PRODUCT_IN_PLACE:
                return args[0].copy_(torch.addmm(*map(_wide, args)))
        return func(*args, **(kwargs or {}))


def _wide(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype == torch.bfloat16 else value


def _rounded(value: Any) -> Any:
    return value.bfloat16() if isinstance(value, Tensor) else value


def end_of(cfg: TrainConfig) -> dict[str, float]:
    """The metrics of the last epoch, and the CPU-seconds of the whole run."""
    begin = time.process_time()
    with ProductsOfFloats() if cfg.precision.autocast == "bfloat16" else nullcontext():
        *_, last = train(cfg)
    found = {metric: last.metrics[metric] for metric in METRICS}
    return found | {"cpu_seconds": round(time.process_time() - begin, 1)}


def kept_end(cfg: TrainConfig, file: Path = KEPT) -> dict[str, float]:
    """`end_of`, unless a run of that config, on this version of torch, has ended before."""
    key = f"{cfg.digest} {cfg.data.crops_per_epoch} {torch.__version__}"
    before = json.loads(file.read_text()) if file.exists() else {}
    if key in before:
        return dict(before[key])
    found = end_of(cfg)
    file.parent.mkdir(parents=True, exist_ok=True)
    now = json.loads(file.read_text()) if file.exists() else {}  # others may have ended meanwhile
    write_atomically(file, json.dumps({**now, key: found}, indent=1).encode())
    return found


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
    parser.add_argument("--only", choices=[*SETTINGS][1:], help="one of them, and the reference")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore", SlowPrecision)
    names = [name for name in SETTINGS if options.only in (None, name) or name == REFERENCE]
    ends: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for seed in options.seeds:
        for name in names:
            ends[name].append(kept_end(config(options, seed, SETTINGS[name])))
            print(f"seed {seed}, {name}: {ends[name][-1]}", flush=True)
    compared = {name: _compared(ends[REFERENCE], ends[name]) for name in names[1:]}
    for name, found in compared.items():
        for metric, value in found.items():
            print(f"{name}: {metric}: {value}")
    cpu = torch.device("cpu")
    meant = {name: str(settle(config(options, 0, SETTINGS[name]), cpu)) for name in names}
    numbers = {"options": vars(options), "settings": meant, "compared": compared, "ends": ends}
    write_record("same_numbers", "cpu", numbers)


def _compared(
    reference: Sequence[dict[str, float]], fast: Sequence[dict[str, float]]
) -> dict[str, Any]:
    return {
        metric: compare([end[metric] for end in reference], [end[metric] for end in fast])
        for metric in METRICS
    }
