"""`tune.py` with a fake training, in a process of its own: ``python -m tests.drills.driver``.

It takes ``tune.py``'s flags behind a few of its own. Everything but the training is what a user's
search runs: flags, space, storage, lock, Ray, signals, exit code.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from tests.drills.fake_training import FakeTraining
from tuning import cli
from tuning.ledger.events import Event, to_line
from tuning.ledger.ledger import Ledger
from tuning.on_ray import head_watch, watchdog
from tuning.on_ray.cluster import cluster
from tuning.on_ray.experiment import run_experiment


def main(words: Sequence[str]) -> int:
    """Run one session of a search."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=0.1)  # of an epoch
    parser.add_argument("--die-before", type=int)  # this line of the session, counted from 1
    parser.add_argument("--torn", action="store_true")  # half of that line is written
    parser.add_argument("--clock-jump", type=float)  # seconds, once the session has eight lines
    parser.add_argument("--patience", type=float)  # seconds that a head may be silent
    parser.add_argument("--start", type=float)  # seconds that a process may take to start
    mine, flags = parser.parse_known_args(words)
    if mine.die_before or mine.clock_jump:
        _meddle(mine.die_before, mine.torn, mine.clock_jump)
    if mine.patience:
        head_watch.PATIENCE = mine.patience
    if mine.start:
        watchdog.START = mine.start
    training = FakeTraining(mine.folder, mine.seconds)
    cli.run_experiment = partial(run_experiment, train=training)  # type: ignore[assignment]
    cli.can_measure = lambda space: False
    local = "--address" not in flags
    with cluster(None, dashboard=False) if local else nullcontext():
        return cli.main(flags)


def _meddle(die_before: int | None, torn: bool, clock_jump: float | None) -> None:
    """Have this process die at a line of its ledger, or its clock jump."""
    append, now, lines = Ledger.append, time.time, 0

    def meddled(self: Ledger, event: Event, **how: Any) -> None:
        nonlocal lines
        lines += 1
        if lines == die_before:
            if torn:
                with self.path.open("ab") as file:
                    file.write(json.dumps(to_line(event))[:-9].encode())
            os.kill(os.getpid(), signal.SIGKILL)
        if clock_jump and lines == 8:
            time.time = lambda: now() + clock_jump
        append(self, event, **how)

    Ledger.append = meddled  # type: ignore[method-assign]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
