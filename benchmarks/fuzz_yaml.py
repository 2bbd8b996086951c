"""Spoiled run configs and search spaces through their loaders: read, or refused in our words.

    python -m benchmarks fuzz_yaml --of runs --inputs 2000 --seed 0

Exits with 1 if anything but the project's own error came out, a message that a terminal would
obey or that fills it, 5 seconds of CPU or a GiB of memory. Input ``n`` of a seed is the same
however many are run.
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from benchmarks.record import write_record
from benchmarks.yaml_mutations import spoiled
from hpcm import ConfigError, TrainConfig
from tuning import load_space

MOST_SECONDS, MOST_MIB = 5.0, 1024.0
LONGEST = 20_000  # characters of a message, one line a problem
SPACES = Path(__file__).parent.parent / "search_spaces"


@dataclass
class Outcome:
    """Counts over all inputs, and what must not be."""

    read: Counter[str] = field(default_factory=Counter)  # by the first mutation
    refused: Counter[str] = field(default_factory=Counter)
    crashes: list[str] = field(default_factory=list)
    bad_messages: list[str] = field(default_factory=list)
    slow: list[str] = field(default_factory=list)
    slowest: tuple[float, str] = (0.0, "")  # CPU seconds, which
    peak_mib: float = 0.0  # more than before the first input

    @property
    def wrong(self) -> list[str]:
        """All of it."""
        heavy = [f"{self.peak_mib:.0f} MiB"] if self.peak_mib > MOST_MIB else []
        return self.crashes + self.bad_messages + self.slow + heavy


def main(arguments: list[str]) -> None:
    """Fuzz, print and record."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks fuzz_yaml")
    parser.add_argument("--of", choices=("runs", "spaces"), default="runs")
    parser.add_argument("--inputs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    started = time.perf_counter()
    files, read = (runs(), read_run) if options.of == "runs" else (spaces(), read_space)
    outcome = fuzz(files, read, options.inputs, options.seed)
    numbers = {"options": vars(options), **vars(outcome)}
    numbers["total_seconds"] = time.perf_counter() - started
    for name, value in numbers.items():
        print(f"{name}: {value}")
    write_record(f"fuzz_yaml-{options.of}", "cpu", numbers)
    if outcome.wrong:
        sys.exit(1)


def fuzz(
    files: Mapping[str, str], read: Callable[[Path], object], inputs: int, seed: int
) -> Outcome:
    """Read ``inputs`` files spoiled from ``files`` (name to text), each under its name.

    Raises :class:`ConfigError` if an undamaged one is refused.
    """
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():  # and what is imported late
            (Path(folder) / name).write_text(text)
            read(Path(folder) / name)
    outcome, before = Outcome(), _peak_mib()
    names = list(files)
    for number in range(inputs):
        rng = random.Random(f"{seed}-{number}")
        name = names[number % len(names)]
        kind, data = spoiled(files[name], rng)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_bytes(data)
            _read(read, path, f"input {number}, {kind}", outcome)
    outcome.peak_mib = _peak_mib() - before
    return outcome


def runs() -> dict[str, str]:
    """Run configs: every field written out, and a few as people write them."""
    whole = yaml.safe_dump(TrainConfig().to_plain(), sort_keys=False)
    famo = {"balancer": {"name": "famo", "tasks": "rate4"}, "optimizer": {"name": "soap"}}
    short = yaml.safe_dump({"epochs": 3, "seed": 1, **famo, "start_from": "sample"})
    return {"whole.yaml": whole, "short.yaml": short}


def read_run(path: Path) -> object:
    """A run config, with an override."""
    return TrainConfig.from_yaml(path, ["epochs=2"])


def spaces() -> dict[str, str]:
    """The shipped search spaces."""
    return {path.name: path.read_text() for path in sorted(SPACES.glob("*.yaml"))}


def read_space(path: Path) -> object:
    """A search space, under a profile."""
    return load_space(str(path), "laptop")


def _read(read: Callable[[Path], object], path: Path, name: str, outcome: Outcome) -> None:
    started = time.process_time()
    kind = name.rpartition(" ")[2]
    try:
        read(path)
    except ConfigError as error:
        outcome.refused[kind] += 1
        said = str(error)
        if len(said) > LONGEST or not said.replace("\n", "").isprintable():
            outcome.bad_messages.append(f"{name}: {said[:200]!r}")
    except Exception as error:
        outcome.crashes.append(f"{name}: {type(error).__name__}: {error}"[:300])
    else:
        outcome.read[kind] += 1
    seconds = time.process_time() - started
    if seconds > MOST_SECONDS:
        outcome.slow.append(f"{name}: {seconds:.1f} s of CPU")
    outcome.slowest = max(outcome.slowest, (seconds, name))


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
