"""`run_trial`: the one caller of `hpcm.train`, and of `tune.report`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from ray import cloudpickle, tune
from ray.tune import Trainable

import hpcm
from hpcm import ConfigError, Diverged, EpochReport, TrainConfig
from hpcm.checkpoints import Checkpoint
from hpcm.parts import Source, import_sources, sources
from tuning.checkpoints.store import CheckpointStore
from tuning.ledger.failures import REFUSED
from tuning.on_ray.diagnosis import StoreAwayError, one_line
from tuning.on_ray.node_facts import Reference
from tuning.on_ray.nodes import request
from tuning.on_ray.trial_keys import (
    DIVERGED,
    FAILED,
    NOTICE,
    PLACEMENT,
    REFERENCE_LMBDA,
    RESTORED,
    SEED,
    STOP_FILE,
    SUSPENDED,
)
from tuning.spaces.space import SearchSpace


class TrainFunction(Protocol):
    """What :func:`hpcm.train` is to a trial."""

    def __call__(self, cfg: TrainConfig, *, resume: Checkpoint | None) -> Iterator[EpochReport]:
        """Yield a report per epoch, from the epoch after that of the checkpoint ``resume`` on.

        ``resume.folder`` has what a report's ``save`` wrote, found to be as it was written. One
        that cannot be continued is refused in the call itself, by :class:`ConfigError`.
        """


@dataclass(frozen=True)
class TrialContext:
    """What the trials of an experiment share: sent to every worker."""

    space: SearchSpace
    directory: Path  # of the experiment, on a filesystem that all nodes see
    train: TrainFunction = hpcm.train
    reference: Reference | None = None  # what a node must agree with; None: nothing
    checkpoints_at: str | None = None  # folder or URL; None: in the experiment's directory
    stop_file: str = STOP_FILE  # each session has its own: a node may see an old one for a minute

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle it with the files of the user's own parts, which its content may need."""
        return _received, (sources(), cloudpickle.dumps(vars(self)))

    def closing(self) -> bool:
        """Whether the experiment asks its trials to save and stop."""
        return (self.directory / self.stop_file).exists()

    def check_node(self, reread: bool = False) -> None:
        """Raise :class:`NodeUnfitError` if this node differs from the driver's.

        ``reread``: read its disk once more, because something was refused here.
        """
        if self.reference is not None:
            (self.reference.recheck if reread else self.reference.check)()

    def checkpoints(self, number: int) -> CheckpointStore:
        """The checkpoints of one trial."""
        name = self.space.trial_name(number)
        return CheckpointStore(self.directory, name, self.checkpoints_at)


def _received(files: tuple[Source, ...], content: bytes) -> TrialContext:
    """The inverse of :meth:`TrialContext.__reduce__`."""
    import_sources(files)
    return TrialContext(**cloudpickle.loads(content))


def run_trial(sampled: Mapping[str, Any], context: TrialContext) -> None:
    """Train one sampled config, reporting once per epoch. Ray may stop it at any report.

    It continues from the newest checkpoint that can be read, whoever started it before. An epoch is
    saved where trials are compared, at the end, when the experiment closes, and in between as often
    as costs little. What a retry cannot help (diverged, a config that is refused) is reported as a
    failure; an exception is for the driver to judge (:mod:`tuning.on_ray.recovery`). A training
    that early stopping ends is reported as it stands at all later rungs too. On several GPUs this
    process has the first, and starts one for each of the others, which end with it.
    """
    number = int(sampled["trial"])
    need = context.space.resources
    torch.set_num_threads(max(1, int(need.cpu) // need.processes))
    store = context.checkpoints(number)
    try:
        context.check_node()
        with hpcm.local_processes(context.train, need.processes, cloudpickle.dumps) as train:
            config = _config(sampled, context.space)
            for metrics in _reports(config, replace(context, train=train), store):
                tune.report(metrics)
    except Diverged as error:
        tune.report({FAILED: f"diverged: {error.reason}", DIVERGED: True})
    except ConfigError as error:
        context.check_node(reread=True)  # a lost mount is no fault of the trial's
        tune.report({FAILED: f"{REFUSED}{error}"})


def _config(sampled: Mapping[str, Any], space: SearchSpace) -> TrainConfig:
    """The run config of a trial, or of a reference run; on a seed of its own if it confirms."""
    if REFERENCE_LMBDA in sampled:
        config = space.reference_config(float(sampled[REFERENCE_LMBDA]))
    else:
        config = space.config(sampled)
    return replace(config, seed=sampled[SEED]) if SEED in sampled else config


def _reports(
    cfg: TrainConfig, context: TrialContext, store: CheckpointStore
) -> Iterator[dict[str, Any]]:
    """What a trial says: first the epoch of the checkpoint it continues, then each new one."""
    if context.closing():
        yield {SUSPENDED: True}
        return
    reports, restored = _start(cfg, context.train, store)
    noticed = {NOTICE: "; ".join(store.problems)} if store.problems else {}
    if restored is not None:
        yield {**restored, RESTORED: True, **noticed}
        noticed = {}
        if restored["epoch"] >= cfg.epochs:
            return
    newest, rungs = restored or {}, context.space.rungs()
    for report in reports:
        closing = context.closing()
        if report.epoch in rungs or report.last or closing or store.due():
            noticed |= _saved(store, report)
        newest = report.metrics
        yield {**newest, **noticed}
        noticed = {}
        if closing:
            yield {SUSPENDED: True}
            return
    yield from unchanged(newest, rungs)


def unchanged(newest: Mapping[str, float], rungs: Sequence[int]) -> Iterator[dict[str, float]]:
    """The same at each rung after the epoch at which early stopping ended a training.

    The weights stay as they are to the maximum fidelity, so it is compared there with no training.
    """
    for rung in rungs:
        if newest and rung > newest["epoch"]:
            yield {**newest, "epoch": float(rung), "train/seconds": 0.0}


def _saved(store: CheckpointStore, report: EpochReport) -> dict[str, str]:
    """Save an epoch. Without room, or a store that answers, the trial goes on and says so."""
    try:
        store.save(report.epoch, report.metrics, report.save)
    except OSError as error:
        return {NOTICE: f"its epoch {report.epoch} could not be saved: {error}"}
    return {}


def _start(
    cfg: TrainConfig, train: TrainFunction, store: CheckpointStore
) -> tuple[Iterator[EpochReport], dict[str, float] | None]:
    """A training from the newest good checkpoint, or from the start; and that epoch's metrics."""
    for checkpoint in _good_ones(store):
        try:
            return train(cfg, resume=checkpoint), checkpoint.metrics
        except ConfigError as error:  # the one before it, at the worst a fresh start
            store.pass_over(checkpoint.folder.name, str(error))
    return train(cfg, resume=None), None


def _good_ones(store: CheckpointStore) -> Iterator[Checkpoint]:
    """The store's checkpoints, newest first. Raises :class:`StoreAwayError` if it is away."""
    try:
        store.sweep()
        yield from store.newest_first()
    except OSError as error:
        raise StoreAwayError(one_line(str(error))) from error


def trainable(context: TrialContext) -> type[Trainable]:
    """Ray's actor class of the trials, called by the space and shown by the trial's id."""

    def train_trial(config: dict[str, Any]) -> None:
        run_trial(config, context)

    wrapped: Callable[..., type[Trainable]] = tune.trainable.wrap_function
    base = wrapped(train_trial, name=context.space.name)

    class TrialActor(base):  # type: ignore[misc,valid-type]
        @classmethod
        def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
            """What the space asks for, unless an earlier failure of this trial says otherwise."""
            need, asked = context.space.resources, config.get(PLACEMENT, {})
            return request(need.cpu, asked.get("gpu", need.gpu), asked.get("avoid", ()))

        def __repr__(self) -> str:  # the trial's id in the ledger: <experiment>-<number>
            number = str(self.trial_name or "").removeprefix(context.space.name)
            return f"{context.directory.name}{number}"

    TrialActor.__name__ = TrialActor.__qualname__ = f"{context.space.name}_trial"
    return TrialActor
