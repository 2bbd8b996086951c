"""How long a slot waits between two trials on a real Ray; the trials only sleep."""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from ray import tune

from benchmarks.search_driver import AT_ONE_LMBDA
from benchmarks.sleeping_trial import Sleeper
from tuning import load_space, run_experiment
from tuning.on_ray.cluster import cluster
from tuning.search.random_draws import Random
from tuning.search.scheduler import Fifo

EPOCHS = 3


def measure(seconds: float, trials: int, reuse: bool = False) -> dict[str, Any]:
    """The waits of both slots, and their share of the slots' time between first and last trial.

    ``reuse``: with Ray's own reuse of processes, for comparison. The search does without: see
    docs/log.md.
    """
    written = load_space(
        "phase3",
        "laptop",
        [
            *AT_ONE_LMBDA,
            f"budget.trials={trials}",
            "budget.concurrent=2",
            f"fidelity.max={EPOCHS}",
            "resources.cpu=1",
        ],
    )
    space = replace(written, searcher=Random(), scheduler=Fifo())
    with tempfile.TemporaryDirectory() as folder:
        notes = Path(folder) / "notes"
        again = ray_reuses_processes() if reuse else nullcontext()
        with cluster(None, dashboard=False), again:
            result = run_experiment(space, storage=folder, train=Sleeper(notes, seconds))
        assert result.complete, result.error
        return {"load_before": os.getloadavg()[2], **waits(notes.read_text(), seconds)}


@contextmanager
def ray_reuses_processes() -> Iterator[None]:
    """A trial gets the process of an earlier one, as Ray can do."""
    with patch.object(tune, "run", partial(tune.run, reuse_actors=True)):
        yield


def waits(notes: str, seconds: float) -> dict[str, Any]:
    """What the notes say: the k-th trial to end makes room for the k-th of those that come later.

    The first two trials start with the search itself and wait for nobody. ``cpu_seconds``: what a
    trial's process computed before its first step, of which a busy machine makes a longer wait.
    """
    lines = [line.split() for line in notes.splitlines()]
    begun = sorted((float(at), float(worked)) for what, at, worked in lines if what == "first")
    ended = sorted(float(at) for what, at, _ in lines if what == "last")
    gaps = [begin - end for (begin, _), end in zip(begun[2:], ended, strict=False)]
    idle, busy = sum(gaps), seconds * len(gaps)
    return {
        "waits_seconds": [round(gap, 2) for gap in gaps],
        "median_wait_seconds": statistics.median(gaps),
        "cpu_seconds": statistics.median(worked for _, worked in begun),
        "idle_share": idle / (idle + busy),
    }
