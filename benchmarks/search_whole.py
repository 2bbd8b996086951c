"""A whole search on a real Ray with slots that exist only in its books; epochs only sleep."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil
import ray
from ray import tune

from benchmarks.search_driver import AT_ONE_LMBDA, spread
from benchmarks.search_slots import ray_reuses_processes
from benchmarks.sleeping_trial import Rated
from tuning import load_space, run_experiment
from tuning.ledger.folders import STUDY_FILE
from tuning.ledger.ledger import LEDGER_FILE
from tuning.on_ray.adapter import RayScheduler, RaySearcher
from tuning.on_ray.cluster import cluster
from tuning.search.random_draws import Random

MARKS = (100, 500, 1000, 1500, 2000)  # numbers of trials at which the driver is looked at


@dataclass
class Meter(tune.Callback):
    """What the driver's process used by the time that so many trials were proposed."""

    process: psutil.Process = field(default_factory=psutil.Process)
    reports: int = 0
    own: dict[str, list[float]] = field(default_factory=lambda: {"report": [], "proposal": []})
    marks: dict[int, dict[str, float]] = field(default_factory=dict)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """A report was handled by everyone else."""
        self.reports += 1
        proposed = int(trial.config["trial"]) + 1
        for mark in (0, *MARKS):
            if proposed >= mark and mark not in self.marks:
                self.marks[mark] = self.state()

    def state(self) -> dict[str, float]:
        """Of this moment."""
        return {
            "reports": self.reports,
            "wall_seconds": time.monotonic(),
            "cpu_seconds": time.process_time(),
            "memory_megabytes": self.process.memory_info().rss / 2**20,
        }

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Time our scheduler and our searcher, which Ray calls, meanwhile."""
        with (
            patch.object(
                RayScheduler,
                "on_trial_result",
                self._timed("report", RayScheduler.on_trial_result),
            ),
            patch.object(RaySearcher, "suggest", self._timed("proposal", RaySearcher.suggest)),
        ):
            yield

    def _timed(self, what: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*given: Any) -> Any:
            started = time.perf_counter()
            found = call(*given)
            self.own[what].append(time.perf_counter() - started)
            return found

        return timed


def measure(trials: int, slots: int, seconds: float) -> dict[str, Any]:
    """One search by promotion; processes are used again, for what they cost is measured elsewhere.

    ``seconds`` is an epoch's time.
    """
    sizes = [f"budget.trials={trials}", f"budget.concurrent={slots}", "resources.cpu=1"]
    fidelity = ["fidelity.min=1", "fidelity.max=9", "confirm.top=0"]
    overrides = [*sizes, *fidelity, *AT_ONE_LMBDA]
    space = replace(load_space("phase3", "laptop", overrides), searcher=Random())
    meter = Meter()
    with tempfile.TemporaryDirectory() as folder:
        with (
            patch.object(ray, "init", partial(ray.init, num_cpus=slots)),
            ray_reuses_processes(),
            cluster(None, dashboard=False),
            meter.reading(),
        ):
            began = time.monotonic()
            result = run_experiment(
                space, storage=folder, name="whole", train=Rated(seconds), callbacks=[meter]
            )
            took = time.monotonic() - began
        assert result.complete, result.error
        return {
            "seconds": took,
            "reports": meter.reports,
            "slots_busy_share": meter.reports * seconds / (slots * took),
            **_spans(meter),
            "own_report_milliseconds": _own(meter.own["report"]),
            "own_proposal_milliseconds": _own(meter.own["proposal"]),
            "bytes_per_trial": _sizes(Path(folder) / "whole", trials),
        }


def _spans(meter: Meter) -> dict[str, Any]:
    """Between two marks: the driver's time per report, all of Ray Tune's in it; at each: memory."""
    marks = sorted(meter.marks)
    spans = {}
    for low, high in zip(marks, marks[1:], strict=False):
        before, after = meter.marks[low], meter.marks[high]
        reports = max(1.0, after["reports"] - before["reports"])
        spans[f"{low}_to_{high}"] = {
            "cpu_milliseconds_per_report": 1e3
            * (after["cpu_seconds"] - before["cpu_seconds"])
            / reports,
            "reports_per_second": reports / (after["wall_seconds"] - before["wall_seconds"]),
        }
    return {
        "driver": spans,
        "memory_megabytes": {at: round(meter.marks[at]["memory_megabytes"]) for at in marks},
    }


def _own(seconds: list[float]) -> dict[str, float]:
    """The spread of all calls, and the median of the last tenth."""
    newest = seconds[-max(1, len(seconds) // 10) :]
    return {**spread(seconds), "last_tenth": 1e3 * statistics.median(newest)}


def _sizes(directory: Path, trials: int) -> dict[str, int]:
    """Bytes of the experiment's folder, a trial: ours, and what Ray writes beside it."""
    found = {"ledger": 0, "study": 0, "checkpoints": 0, "rest": 0}
    ours = {LEDGER_FILE: "ledger", STUDY_FILE: "study"}
    for path in directory.rglob("*"):
        if path.is_file():
            first = path.relative_to(directory).parts[0]
            found[ours.get(first, first if first in found else "rest")] += path.stat().st_size
    return {name: round(size / trials) for name, size in found.items()}
