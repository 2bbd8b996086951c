"""A whole search without Ray: every report, decision and proposal timed."""

from __future__ import annotations

import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from tuning.ledger.events import Opened
from tuning.ledger.folders import STUDY_FILE
from tuning.ledger.ledger import Ledger
from tuning.ledger.notices import Notices
from tuning.on_ray.progress_callback import ProgressCallback
from tuning.search.decisions import Decision, Idle, Start
from tuning.search.halving import Asha, Promote
from tuning.search.optuna_encoder import OptunaEncoder
from tuning.search.random_draws import Random
from tuning.search.scheduler import Fifo
from tuning.search.search import Search
from tuning.search.sessions import open_session
from tuning.search.tpe_section import Tpe
from tuning.simulation.drive import Epoch, SimulatedTime, drive
from tuning.spaces.loading import load_space
from tuning.spaces.space import SearchSpace
from tuning.watching.progress import Progress
from tuning.watching.study_copy import study_copy
from tuning.watching.study_storage import StudyPlace

#: Without reference runs: what is measured is the driver's own work.
AT_ONE_LMBDA = ("objective.metric=val_rd_cost", "objective.weights=raw", "confirm.top=0")
SCHEDULERS = {"asha": Asha, "promote": Promote, "fifo": Fifo}
MARKS = (100, 1000, 2000)  # numbers of trials at which the driver is looked at
#: What `hpcm.train` reports of an epoch, beside the objective.
METRICS = (
    *(f"val_{name}" for name in ("bpp", "bpp_z", "bpp_s1", "bpp_s2", "bpp_s3", "psnr", "mse")),
    *(f"train/{name}" for name in ("loss", "distortion", "bpp_loss", "psnr", "lr", "seconds")),
    *(f"weights/{name}" for name in ("low", "rate_s1", "mid", "rate_s2", "high")),
    *(f"{group}/s{scale}" for group in ("gamma", "scale_contrib") for scale in (1, 2, 3)),
    *(f"test/{name}" for name in ("loss", "distortion", "bpp_loss", "psnr")),
)


@dataclass(frozen=True)
class Report:
    """One report as the driver took it."""

    trials: int  # proposed by then
    seconds: float
    decided: bool  # whether it crossed a rung


class TimedSearch(Search):
    """A search whose answers are timed, with what is shown of it after each report."""

    def __init__(self, space: SearchSpace, ledger: Ledger) -> None:
        super().__init__(space, ledger)
        self.reports: list[Report] = []
        self.asks: list[tuple[int, float]] = []  # trials by then, seconds
        self._progress = Progress(space)
        self._callback = ProgressCallback(self, self._show, Notices(lambda text: None))
        self._shown = 0

    def next(self) -> Start | Idle:
        """Timed."""
        began = time.perf_counter()
        found = super().next()
        self.asks.append((len(self.ledger.trials), time.perf_counter() - began))
        return found

    def report(
        self, trial: int, metrics: Mapping[str, float], *, restored: bool = False
    ) -> Decision:
        """Timed, and shown."""
        began = time.perf_counter()
        decision = super().report(trial, metrics, restored=restored)
        self._callback.on_step_end(0, [])
        seconds = time.perf_counter() - began
        decided = metrics["epoch"] in self.space.rungs()[:-1]
        self.reports.append(Report(len(self.ledger.trials), seconds, decided))
        return decision

    def _show(self, trials: Any) -> None:
        self._shown += len("\n".join(self._progress.lines(trials)))


def measure(trials: int, slots: int, scheduler: str) -> dict[str, Any]:
    """All numbers of one search of ``trials`` trials."""
    sizes = [f"budget.trials={trials}", "fidelity.min=1", "fidelity.max=9"]
    written = load_space("phase3", "cluster", [*sizes, *AT_ONE_LMBDA])
    space = replace(written, searcher=Random(), scheduler=SCHEDULERS[scheduler]())
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "bench-x"
        directory.mkdir()
        return {
            "parameters": len(space.parameters),
            "fsync_milliseconds": 1e3 * _fsync(directory),
            **_search(space, directory, slots),
            "resume_seconds": _resume(space, directory),
        }


def _search(space: SearchSpace, directory: Path, slots: int) -> dict[str, Any]:
    process = psutil.Process()
    memory = {0: process.memory_info().rss}
    proposals: dict[int, float] = {}
    with _followed(space, directory) as search:

        def begin(start: Start) -> Iterator[Epoch]:
            count = len(search.ledger.trials)
            if count in MARKS and count not in proposals:
                memory[count] = process.memory_info().rss
                proposals[count] = _tpe_seconds(space, search.ledger, count)
            return _epochs(start.trial, search.ledger.trials[start.trial].epochs)

        drive(search, begin, slots=slots, time=SimulatedTime())
    search.ledger.close()
    found: dict[str, Any] = {
        "reports": len(search.reports),
        "decisions": sum(report.decided for report in search.reports),
        "memory_megabytes": {at: round(rss / 2**20) for at, rss in memory.items()},
        "tpe_proposal_milliseconds": {at: 1e3 * value for at, value in proposals.items()},
    }
    for mark in (mark for mark in MARKS if mark in proposals):
        near = [r for r in search.reports if 0.8 * mark < r.trials <= mark]
        found[f"at_{mark}"] = {
            "report_milliseconds": spread([r.seconds for r in near]),
            "report_with_decision_milliseconds": spread([r.seconds for r in near if r.decided]),
            "random_proposal_milliseconds": spread(
                [s for at, s in search.asks if 0.8 * mark < at <= mark]
            ),
        }
    sizes = {"ledger": search.ledger.path, "study": directory / STUDY_FILE}
    count = len(search.ledger.trials)
    return found | {
        "bytes_per_trial": {name: round(p.stat().st_size / count) for name, p in sizes.items()}
    }


def _epochs(number: int, done: int) -> Iterator[Epoch]:
    """What a trial reports, from the epoch on that it was left at."""
    quality = (number * 7919 % 1000) / 1000
    values = {name: 0.123456789 + quality for name in METRICS}
    for epoch in itertools.count(done + 1):
        yield Epoch({**values, "epoch": float(epoch), "val_rd_cost": quality + 1 / epoch})


@contextmanager
def _followed(space: SearchSpace, directory: Path) -> Iterator[TimedSearch]:
    """A search whose study is written by its thread meanwhile."""
    ledger, notices = Ledger(directory), Notices(lambda text: None)
    ledger.open()
    with study_copy(ledger, OptunaEncoder(space), StudyPlace(directory), notices) as copy:
        yield TimedSearch(space, ledger)
        copy.settle(60.0)


def _resume(space: SearchSpace, directory: Path) -> float:
    """Seconds until a driver knows everything again and could propose."""
    started = time.perf_counter()
    ledger = Ledger(directory)
    open_session(ledger, Opened())
    Search(space, ledger)
    seconds = time.perf_counter() - started
    ledger.close()
    return seconds


def _tpe_seconds(space: SearchSpace, ledger: Ledger, number: int, rounds: int = 9) -> float:
    """Median of proposals by TPE, drawn on these records and thrown away."""
    modelled = replace(space, searcher=Tpe(prior_share=0.0))
    searcher, seconds = modelled.searcher.build(modelled), []
    for offset in range(rounds):
        started = time.perf_counter()
        searcher.propose(number + offset, ledger.records())
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def spread(seconds: list[float]) -> dict[str, float]:
    """Median and 95th percentile, in milliseconds."""
    ordered = sorted(seconds)
    return {
        "median": 1e3 * statistics.median(ordered),
        "p95": 1e3 * ordered[int(0.95 * len(ordered))],
    }


def _fsync(directory: Path) -> float:
    """Median seconds of a sync here: at least one is part of every decision."""
    seconds = []
    with (directory / "probe").open("wb") as file:
        for _ in range(50):
            file.write(b"x" * 300)
            file.flush()
            started = time.perf_counter()
            os.fsync(file.fileno())
            seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)
