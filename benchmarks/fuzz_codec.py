"""Mutated files through the decoder: refused, or the image that was coded, and how long it took.

    python -m benchmarks fuzz_codec --inputs 10000 --seed 0

Half of the files are exact ones and half portable. A third of the mutated ones have the file's
checksum made right again, so that the damage reaches what is behind it, and a third that of the
symbols too, as somebody who has the weights can. Every stream that is decoded lies against memory
that cannot be read: a word read too far ends the run with SIGSEGV and without a record. Exits
with 1 if an image came out that was neither coded nor forged, or anything but a refusal was
raised. Input ``n`` of a seed is the same however many are run.
"""

from __future__ import annotations

import argparse
import faulthandler
import resource
import sys
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from benchmarks.guarded_coder import guarded
from benchmarks.mutations import MUTATIONS, Layout, sealed
from benchmarks.record import write_record
from hpcm import ConfigError, build_model
from hpcm.model import codec as codec_module
from hpcm.model.bitstream import BitstreamError
from hpcm.model.codec import SymbolCheck
from hpcm.model.container import Container
from hpcm.model.file_codec import FileCodec
from tests.reference.fill_weights import fill_model, formula_image

REASONS = (  # starts of messages, or what they hold
    *("not an HPCM file", "of the format", "its checksum differs", "ends inside a field"),
    *("bytes follow", "a name is not text", "unreadable arithmetic", "is not possible"),
    *("padding is not", "; this is hpcm_", "which rounds differently", "GiB of memory"),
    *("are too few", "are too many", "does not begin like", "of another size", "cut or foreign"),
    *("not finite or too large", "outside their tables", "not those that were coded"),
    *("CPU threads", "corrections"),
)


@dataclass
class Outcome:
    """Counts over all inputs, and the slowest."""

    refused: Counter[str] = field(default_factory=Counter)
    same_image: Counter[str] = field(default_factory=Counter)
    forged_image: Counter[str] = field(default_factory=Counter)
    wrong_image: list[str] = field(default_factory=list)
    crashes: list[str] = field(default_factory=list)
    slowest: tuple[float, str] = (0.0, "")  # seconds, which
    busiest: tuple[float, str] = (
        0.0,
        "",
    )  # the same in CPU seconds, which no other process adds to
    over_a_second: list[str] = field(default_factory=list)


def main(arguments: list[str]) -> None:
    """Fuzz, print and record."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks fuzz_codec")
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="hpcm_tiny")
    options = parser.parse_args(arguments)
    model = fill_model(build_model(options.model), seed=4)
    started = time.perf_counter()
    faulthandler.enable()
    with guarded():
        outcome = fuzz(FileCodec(model, options.model), options.inputs, options.seed)
    numbers = {
        "options": vars(options),
        "refused": dict(outcome.refused.most_common()),
        "image as coded": dict(outcome.same_image.most_common()),
        "image as forged": dict(outcome.forged_image.most_common()),
        "wrong image": outcome.wrong_image,
        "crashes": outcome.crashes,
        "slowest_seconds": outcome.slowest[0],
        "slowest": outcome.slowest[1],
        "busiest_cpu_seconds": outcome.busiest[0],
        "busiest": outcome.busiest[1],
        "over_a_second": outcome.over_a_second,
        "total_seconds": time.perf_counter() - started,
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    for name, value in numbers.items():
        print(f"{name}: {value}")
    write_record(f"fuzz_codec-{options.model}", "cpu", numbers)
    if outcome.wrong_image or outcome.crashes:
        sys.exit(1)


def fuzz(codec: FileCodec, inputs: int, seed: int) -> Outcome:
    """Decode ``inputs`` mutated files."""
    pixels = torch.from_numpy(formula_image(70, 90, 0)).permute(2, 0, 1).float() / 255
    files = [codec.compress(pixels, portable) for portable in (False, True)]
    images = [codec.decompress(data) for data in files]
    outcome = Outcome()
    for number in range(inputs):
        rng = np.random.default_rng((seed, number))
        kind = number % 2
        mutation = MUTATIONS[rng.integers(len(MUTATIONS))]
        mutated = mutation(files[kind], Layout.of(files[kind]), rng)
        name = f"input {number}, {mutation.__name__} of {('exact', 'portable')[kind]}"
        checksums = ("", "sealed", "forged")[rng.integers(3)]
        if checksums == "sealed":
            mutated = sealed(mutated)
        if checksums == "forged":
            mutated = forged(codec, sealed(mutated))
        _decode(codec, mutated, images[kind], f"{name}, {checksums}", outcome)
    return outcome


def forged(codec: FileCodec, data: bytes) -> bytes:
    """The file with the checksum of the symbols that a decoder finds in it, if it comes so far."""
    checks: list[SymbolCheck] = []

    class Kept(SymbolCheck):
        def __init__(self) -> None:
            super().__init__()
            checks.append(self)

    try:
        container = Container.from_bytes(data)
        with patch.object(codec_module, "SymbolCheck", Kept):
            codec.decompress(data)
    except (BitstreamError, ConfigError) as error:
        if checks and "not those that were coded" in str(error):
            coded = replace(container.coded, symbol_crc=checks[0].crc)
            return replace(container, coded=coded).to_bytes()
    return data


def _decode(codec: FileCodec, data: bytes, image: Tensor, name: str, outcome: Outcome) -> None:
    started, cpu_started = time.perf_counter(), time.process_time()
    try:
        found = codec.decompress(data)
    except (BitstreamError, ConfigError) as error:
        outcome.refused[_reason(str(error))] += 1
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        outcome.crashes.append(f"{name}: {type(error).__name__}: {error}"[:200])
    else:
        kind = name.split(", ", 1)[1]
        if found.shape == image.shape and torch.equal(found, image):
            outcome.same_image[kind] += 1
        elif kind.endswith("forged") and bool(found.isfinite().all()):
            outcome.forged_image[kind] += 1
        else:
            outcome.wrong_image.append(name)
    seconds, busy = time.perf_counter() - started, time.process_time() - cpu_started
    if seconds > 1:
        outcome.over_a_second.append(f"{name}: {seconds:.1f} s, {busy:.1f} s of CPU")
    outcome.slowest = max(outcome.slowest, (seconds, name))
    outcome.busiest = max(outcome.busiest, (busy, name))


def _reason(message: str) -> str:
    return next((reason for reason in REASONS if reason in message), message[:60])
