"""``train --log``: the metrics of each epoch for TensorBoard or Weights & Biases, if asked for.

The training loop knows neither; each package is imported when its log is opened. A resumed run
continues its logs: what was logged after its checkpoint is replaced.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import hpcm
from hpcm.extra_packages import require
from hpcm.files import read_text
from hpcm.schema import ConfigError

PROJECT = "hpcm-tune"  # in Weights & Biases, unless WANDB_PROJECT names another
ID_FILE = "wandb_id.txt"  # in a run's folder, so that a resume continues the same run there

Metrics = Mapping[str, float]
Record = Callable[[Metrics], None]


@contextmanager
def loggers(
    names: Sequence[str], folder: Path, cfg: hpcm.TrainConfig, before: Sequence[Metrics]
) -> Iterator[Record]:
    """Inside, a function that logs an epoch's metrics to all of ``names``, in :data:`LOGGERS`.

    Scores of parts of the images are left out: nobody reads them as curves. ``before`` are the
    epochs that a resumed run has done. Raises :class:`ConfigError` if a package is missing or a
    service cannot be used.
    """
    from hpcm.evaluation.validation import PART  # which imports torch

    def whole(metrics: Metrics) -> Metrics:
        return {name: value for name, value in metrics.items() if not name.startswith(PART)}

    past = [whole(metrics) for metrics in before]
    with ExitStack() as open_logs:
        records = [
            open_logs.enter_context(LOGGERS[name](folder, cfg, past))
            for name in dict.fromkeys(names)
        ]

        def record(metrics: Metrics) -> None:
            for each in records:
                each(whole(metrics))

        yield record


@contextmanager
def tensorboard(folder: Path, cfg: hpcm.TrainConfig, before: Sequence[Metrics]) -> Iterator[Record]:
    """Event files in ``tensorboard/`` of the run's folder."""
    require("tensorboardX", "tensorboardX", "--log tensorboard")
    from tensorboardX import SummaryWriter

    first = len(before) + 1
    options = {
        "purge_step": first if before else None,
        "filename_suffix": f".from-epoch-{first}",  # two files of one second differ
    }
    with SummaryWriter(str(folder / "tensorboard"), **options) as writer:
        writer.add_text("config", f"```\n{json.dumps(cfg.to_plain(), indent=1)}\n```", len(before))

        def record(metrics: Metrics) -> None:
            for name, value in metrics.items():
                writer.add_scalar(name, value, int(metrics["epoch"]))
            writer.flush()

        yield record


@contextmanager
def weights_and_biases(
    folder: Path, cfg: hpcm.TrainConfig, before: Sequence[Metrics]
) -> Iterator[Record]:
    """A run in ``WANDB_PROJECT``; account and mode are wandb's own, from the environment."""
    require("wandb", "wandb", "--log wandb")
    import wandb

    try:
        run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=_id(folder),
            name=folder.name,
            config={**cfg.to_plain(), "digest": cfg.digest},
            dir=folder,
            resume=None if os.environ.get("WANDB_MODE") == "offline" else "allow",
            settings=wandb.Settings(silent=True, console="off"),
        )
    except wandb.errors.Error as error:
        raise ConfigError(f"--log wandb: cannot be opened: {error}") from None
    logged = run.step - 1 if run.resumed else 0

    def record(metrics: Metrics) -> None:
        run.log(dict(metrics), step=int(metrics["epoch"]))

    # Only what is new to the service; offline all of it, so that the newest file is the whole run.
    for metrics in before:
        if metrics["epoch"] > logged:
            record(metrics)
    code = 1
    try:
        yield record
        code = 0
    finally:
        run.finish(exit_code=code)


#: What ``--log`` takes.
LOGGERS: dict[str, Callable[..., Any]] = {"tensorboard": tensorboard, "wandb": weights_and_biases}


def _id(folder: Path) -> str:
    """The run's id in Weights & Biases: made once, then read from its folder."""
    path = folder / ID_FILE
    if not path.exists():
        path.write_text(f"{uuid.uuid4().hex[:16]}\n")
    return read_text(path).strip()
