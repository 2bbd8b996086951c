"""`train`: the generator of epoch reports. The one training loop; it knows nothing of tuning."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import nn

from hpcm import ranks, torchrun
from hpcm.checkpoints import Checkpoint
from hpcm.config import TrainConfig
from hpcm.evaluation.images import Validator
from hpcm.evaluation.modes import stride_of
from hpcm.evaluation.run_images import run_images
from hpcm.optimizers import eval_mode, train_mode
from hpcm.optimizers.balancer import LAMBDA_RATIO
from hpcm.optimizers.early_stopping import SCALES
from hpcm.schema import ConfigError, about
from hpcm.training.data import CropLoader
from hpcm.training.dominance import Dominance
from hpcm.training.run import Run
from hpcm.training.state import restore, save
from hpcm.training.step import Stepper


@dataclass(frozen=True)
class EpochReport:
    """What one finished epoch gave: its number from 1, flat metrics, and a way to save the run.

    ``save(directory)`` writes a checkpoint of the run as it stands; call it before the generator is
    advanced. The keys of ``metrics`` are listed in ``docs/architecture.md``. ``last``: none follows
    (it is the config's last, or every scale has stopped early), and it was validated.
    """

    epoch: int
    metrics: dict[str, float]
    save: Callable[[str | Path], None]
    last: bool = False


def train(
    cfg: TrainConfig,
    *,
    resume: str | Path | Checkpoint | None = None,
    model: nn.Module | None = None,
    device: str | None = None,
) -> Iterator[EpochReport]:
    """Train one run, yielding a report per epoch; ``resume`` continues from a checkpoint.

    That is a folder, or a `Checkpoint` whose files the caller has found whole: they are not read
    once more for it.

    ``model`` is trained in place if one is given, else built from ``cfg.model``; ``device``
    defaults to the GPU if there is one. Raises :class:`hpcm.schema.ConfigError` at the call for
    what a user can mend, and :class:`hpcm.losses.diverged.Diverged` when the numbers break.

    In a process group of `torch.distributed` all processes train this run together, each on its
    part of every batch; all have to take every report, and one of them saves it. The call itself
    waits for none of them. They raise :class:`hpcm.ranks.RankLostError` if one of them ends.
    """
    if ranks.count() == 1 < torchrun.processes():
        raise ConfigError(
            f"torchrun started {torchrun.processes()} processes, and each would train a run of its "
            "own: call torch.distributed.init_process_group first, or torchrun -m hpcm train CONFIG"
        )
    run = Run.build(cfg, model, device)
    images = run_images(cfg.data)
    batches = CropLoader(images.train, cfg.data, stride_of(run.model), cfg.seed, run.device)
    with about("data.holdout" if cfg.data.val is None else "data.val"):
        validator = Validator(images.val, cfg.loss, stride_of(run.model), by_all_ranks=True)
    if resume is not None:
        restore(run, resume)
    return _epochs(run, batches, validator)


def _epochs(run: Run, batches: CropLoader, validator: Validator) -> Iterator[EpochReport]:
    for part in (run.model, *run.regularizers.values()):  # a model that was given may differ
        ranks.copy_from_first([*part.parameters(), *part.buffers()])
    stepper, dominance = Stepper(run), Dominance()
    for epoch in range(run.epoch, run.cfg.epochs):
        if run.stopper.all_stopped:
            return
        started = time.monotonic()
        run.apply_config()
        metrics = {"train/lr": run.lr} | _train_epoch(run, stepper, batches, epoch)
        dominance.observe(metrics)
        run.epoch = epoch + 1
        last = run.epoch == run.cfg.epochs or run.stopper.all_stopped
        if run.epoch % run.cfg.validate_every == 0 or last:
            metrics |= _validate(run, validator)
        metrics |= {"epoch": float(run.epoch), "train/seconds": time.monotonic() - started}
        yield EpochReport(run.epoch, metrics, partial(save, run, metrics=metrics), last)


def _train_epoch(run: Run, stepper: Stepper, batches: CropLoader, epoch: int) -> dict[str, float]:
    run.model.train()
    train_mode(run.optimizer)
    for index, x in enumerate(batches.batches(epoch)):
        stepper.step(x, run.progress(index / batches.steps_per_epoch))
    eval_mode(run.optimizer)
    metrics, scale_losses = stepper.read()
    metrics["train/trainable"] = float(run.trainable)
    run.balancer.observe(scale_losses)
    run.stopper.observe(dict(zip(SCALES, scale_losses.tolist(), strict=True)))
    for part in run.regularizers.values():
        if part.active(run.progress()):
            part.check(metrics.get("train/loss", math.nan))
    return metrics | _balance(run) | _spectral(run) | run.stopper.log()


def _balance(run: Run) -> dict[str, float]:
    """The balancer's numbers, with lambda_eff as a ratio to the lambda of rd_cost."""
    values = run.balancer.log()
    if LAMBDA_RATIO in values:
        values[LAMBDA_RATIO] *= run.cfg.tasks.lambda_of_sum
    return values


def _spectral(run: Run) -> dict[str, float]:
    """The regularizers' numbers; ``spectral/phase`` is 1 for cut images plus 2 for the term."""
    t, settings = run.progress(), run.cfg.regularizers
    on = [part for name, part in run.regularizers.items() if settings[name].on]
    values: dict[str, float] = {}
    for part in on:
        values |= part.log(t)
    phase = sum(part.phase for part in on if part.active(t))
    return values | {"spectral/phase": float(phase)} if on else {}


def _validate(run: Run, validator: Validator) -> dict[str, float]:
    """The objective's numbers, also of the average if there is one, and as loggers show them."""
    found = validator(run.model)
    of_average = {}
    if run.average is not None:
        with run.average.in_place():
            scores = validator(run.model)
        of_average = {name.replace("val_", "val_ema_", 1): v for name, v in scores.items()}
    return (
        found
        | of_average
        | {
            "test/loss": found["val_rd_cost"],
            "test/distortion": (found["val_rd_cost"] - found["val_bpp"]) / run.cfg.loss.lmbda,
            "test/bpp_loss": found["val_bpp"],
            "test/psnr": found["val_psnr"],
        }
    )
