"""The runs of a ladder scored on test sets, each run once: a later start scores what is new."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from hpcm import ConfigError, evaluate
from hpcm.commands.arguments import images_at
from hpcm.commands.trained_model import load_model
from hpcm.evaluation.image_sets import ImageSet
from hpcm.evaluation.results import Results
from tuning.checkpoints.store import CheckpointStore
from tuning.ledger.records import TrialRecord
from tuning.results.ladder import run_file, set_folder
from tuning.spaces.ladder_space import CONFIG

Tell = Callable[[str], None]
Stores = Callable[[int], CheckpointStore]  # the checkpoints of a run


@dataclass(frozen=True)
class TestSet:
    """Images that judge, and where their scores go."""

    __test__ = False  # no test of pytest's

    images: ImageSet
    real: bool
    folder: Path


def test_sets(directory: Path, images: Sequence[str], real: bool) -> list[TestSet]:
    """The sets by name or folder. Raises :class:`ConfigError` for one that cannot be used."""
    found = [images_at(given) for given in images]
    names = [one.name for one in found]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"--images: two sets are called {name}; give each once")
    return [TestSet(one, real, set_folder(directory, one.name, real)) for one in found]


def score_runs(
    sets: Sequence[TestSet], runs: Sequence[TrialRecord], stores: Stores, tell: Tell
) -> None:
    """Score each finished run on each set, if that was not done before.

    ``tell`` hears a line per score, and of a run whose checkpoint cannot be read. Raises
    :class:`ConfigError` if a set's images are others than those that were scored before.
    """
    for one in sets:
        _refuse_others(one)
    for run in runs:
        due = [one for one in sets if not run_file(one.folder, run.number).is_file()]
        if run.state != "finished" or not due:
            continue
        with contextlib.ExitStack() as stack:
            try:
                path = stack.enter_context(stores(run.number).newest())
                model, source = load_model(path, None)
            except (ConfigError, OSError) as error:
                tell(f"trial {run.number} is not scored: {error}")
                continue
            model = model.to("cuda" if torch.cuda.is_available() else "cpu")
            for one in due:
                found = evaluate(
                    model, one.images, real=one.real, name=run.params[CONFIG], source=source
                )
                found.save(run_file(one.folder, run.number))
                scores = found.results
                tell(
                    f"{one.images.name}: {run.params[CONFIG]}, lmbda {source['lmbda']:g}, seed"
                    f" {source['seed']}: {scores['bpp'][0]:.4f} bpp, {scores['psnr-rgb'][0]:.2f} dB"
                )


def _refuse_others(one: TestSet) -> None:
    """Scores of other images under the same name make no curve with new ones."""
    for path in sorted(one.folder.glob("runs/*.json"))[:1]:
        before = Results.load(path).conditions.get("fingerprint")
        if before != one.images.fingerprint:
            raise ConfigError(
                f"--images {one.images.name}: its files are others than those that were scored"
                f" before ({before}); give the folder another name, or remove {one.folder}"
            )
