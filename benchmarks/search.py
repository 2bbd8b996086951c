"""What a search costs beside its trials: the driver's time, and slots that wait.

    python -m benchmarks search driver --trials 2000
    python -m benchmarks search slots --seconds 60
    python -m benchmarks search whole --trials 2000
    python -m benchmarks search many --trials 5000 --slots 256

``driver``: ledger, scheduler, searcher, study and console as in a search, without Ray, on trials
that report at once. ``slots``: a real Ray, two slots, trials that only sleep; how long a slot waits
from a trial's last step to the next trial's first. ``whole``: a search of many short trials on a
real Ray, whose driver is looked at as it grows. ``many``: a simulated search on many slots, and the
share of them that trains. Each writes a record of its own.
"""

from __future__ import annotations

import argparse

from benchmarks import search_driver, search_many, search_slots, search_whole
from benchmarks.record import write_record

PARTS = {
    "driver": search_driver,
    "many": search_many,
    "slots": search_slots,
    "whole": search_whole,
}


def main(arguments: list[str]) -> None:
    """Measure one of them, print and record."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks search")
    parts = parser.add_subparsers(dest="part", required=True)
    driver = parts.add_parser("driver")
    driver.add_argument("--trials", type=int, default=2000)
    driver.add_argument("--slots", type=int, default=16)
    driver.add_argument("--scheduler", choices=sorted(search_driver.SCHEDULERS), default="promote")
    slots = parts.add_parser("slots")
    slots.add_argument("--seconds", type=float, default=60.0, help="of a trial")
    slots.add_argument("--trials", type=int, default=6)
    slots.add_argument("--reuse", action="store_true", help="Ray's own reuse of processes")
    many = parts.add_parser("many")
    many.add_argument("--trials", type=int, default=5000)
    many.add_argument("--slots", type=int, default=256)
    whole = parts.add_parser("whole")
    whole.add_argument("--trials", type=int, default=2000)
    whole.add_argument("--slots", type=int, default=16)
    whole.add_argument("--seconds", type=float, default=0.2, help="of an epoch")
    options = parser.parse_args(arguments)
    given = {key: value for key, value in vars(options).items() if key != "part"}
    numbers = {"options": given, **PARTS[options.part].measure(**given)}
    for name, value in numbers.items():
        print(f"{name}: {value}")
    reuse = "_reuse" if given.get("reuse") else ""
    write_record(f"search_{options.part}{reuse}", "cpu", numbers)
