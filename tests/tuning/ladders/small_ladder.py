"""A small ladder, its runs against a clock, and scores that come from a formula."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from hpcm.evaluation.results import Results
from tuning.ladders.arguments import add_arguments
from tuning.ladders.request import new_space
from tuning.ledger.events import Closed, Opened
from tuning.ledger.folders import write_experiment
from tuning.ledger.ledger import Ledger
from tuning.ledger.records import TrialRecord
from tuning.results.ladder import run_file, set_folder
from tuning.search.decisions import Start
from tuning.search.search import Search
from tuning.search.sessions import open_session
from tuning.simulation.drive import Epoch, SimulatedTime, drive
from tuning.spaces.ladder_space import CONFIG, LMBDA, SEED, LadderSpace

LMBDAS = (0.0004, 0.0008, 0.0016, 0.0032)
CONFIG_FILE: dict[str, Any] = {
    "model": {"name": "hpcm_tiny"},
    "start_from": "sample",
    "data": {
        "train": "sample",
        "val": "sample_val",
        "batch_size": 4,
        "crops_per_epoch": 4,
        "patch": 256,
        "workers": 0,
        "cache": True,
    },
    "optimizer": {"name": "cautious_adam", "lr": 5.0e-5},
    "balancer": {"name": "famo"},
    "epochs": 2,
    "schedule_horizon": 2,
}
IMAGES = 5


def config_file(folder: Path, name: str = "best", **changes: Any) -> Path:
    """A run config; ``changes`` replace its keys."""
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({**CONFIG_FILE, **changes}))
    return path


def flags(*words: str) -> argparse.Namespace:
    """As the command line gives them."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


def ladder(
    folder: Path, *more: str, lmbdas: Sequence[float] = LMBDAS, seeds: Sequence[int] = (1, 2)
) -> LadderSpace:
    """The ladder of `config_file` against the baseline."""
    words = [str(config_file(folder)), "--lmbdas", *map(str, lmbdas), "--seeds", *map(str, seeds)]
    return new_space(flags(*words, *more), "laptop")


def trained(
    directory: Path, space: LadderSpace, fails: Sequence[int] = (), stop_after: int | None = None
) -> list[int]:
    """Run the ladder in ``directory`` against a clock; the numbers of the runs that started.

    ``fails``: runs whose cost is NaN in their first epoch. ``stop_after``: reports after which
    nothing more starts.
    """
    time, started = SimulatedTime(), []
    write_experiment(directory, space, images=["photos"], real=False)
    ledger = Ledger(directory, clock=time.clock(), durable=False)
    open_session(ledger, Opened(digest=space.digest, experiment=directory.name))
    search = Search(space, ledger)

    def begin(start: Start) -> Iterator[Epoch]:
        started.append(start.trial)
        for epoch in range(ledger.trials[start.trial].epochs + 1, space.fidelity.max + 1):
            value = math.nan if start.trial in fails else 1.0
            metrics = {"val_rd_cost": value, "val_bpp": 0.5, "val_psnr": 30.0}
            yield Epoch({"epoch": float(epoch), "train/seconds": 1.0, **metrics})

    drive(search, begin, slots=2, time=time, stop_after=stop_after)
    ledger.close(Closed())
    return started


def score(directory: Path, runs: Sequence[TrialRecord], gain: Mapping[float, float]) -> Path:
    """Scores of the finished runs; the config needs ``gain`` (by lmbda, percent) less rate."""
    folder = set_folder(directory, "photos", real=False)
    for run in runs:
        if run.state == "finished":
            _scores(run, gain).save(run_file(folder, run.number))
    return folder


def _scores(run: TrialRecord, gain: Mapping[float, float]) -> Results:
    lmbda, seed, name = run.params[LMBDA], run.params[SEED], run.params[CONFIG]
    place = math.log2(lmbda / LMBDAS[0])
    factor = 1 - gain.get(lmbda, 0.0) / 100 if name != "baseline" else 1.0
    rows = [
        {
            "point": 0,
            "image": f"{image}.png",
            "bpp": 0.1 * 2**place * factor * (1 + 0.02 * image) * (1 + 0.001 * seed),
            "psnr-rgb": 26.0 + 2 * place + 0.1 * image,
        }
        for image in range(IMAGES)
    ]
    means = {key: [sum(row[key] for row in rows) / IMAGES] for key in ("bpp", "psnr-rgb")}  # type: ignore[misc]
    point = {"lmbda": lmbda, "seed": seed, "metric": "mse"}
    conditions = {"rate": "estimated", "images": IMAGES, "fingerprint": "sha256:0"}
    return Results(name, "photos", means, conditions=conditions, points=[point], images=rows)
