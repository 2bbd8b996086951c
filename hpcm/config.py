"""`TrainConfig`: one run as one frozen tree. Defaults live here and in the parts."""

from __future__ import annotations

import hashlib
import json
from dataclasses import field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator

from hpcm.atomic_files import write_atomically
from hpcm.choices import OneOf
from hpcm.defaults import HARMLESS, MOST_CORES
from hpcm.losses import TASK_SETS, LossConfig, Regularizers
from hpcm.losses import check as check_tasks
from hpcm.losses.task_set import TaskSet
from hpcm.model import ModelConfig
from hpcm.optimizers import BALANCERS, OPTIMIZERS, Adam, BalancerConfig, OptimizerConfig, Sum
from hpcm.optimizers.early_stopping import EarlyStopping
from hpcm.optimizers.param_groups import Parts
from hpcm.schedules import LrSchedule
from hpcm.schema import (
    ConfigError,
    added,
    bounded,
    config_class,
    hot,
    load,
    overlay,
    set_path,
    to_plain,
)
from hpcm.yaml_files import override, read_yaml

#: Fields that may differ between a checkpoint and the config that continues it, besides hot ones.
MAY_DIFFER = frozenset(("epochs", "validate_every", "data.val", *HARMLESS))


def _once_a_switch(value: Any) -> Any:
    """``data.cache`` was true or false before 0.1.0."""
    return {True: "memory", False: "none"}[value] if isinstance(value, bool) else value


@config_class
class DataConfig:
    """What is trained and validated on: image sets by name under ``$HPCM_DATA``, never paths."""

    train: str = "flickr2w"  # "sample" and "sample_val" are the photographs that dependencies ship
    val: str | None = "kodak"  # None: validate on what holdout takes out of train
    holdout: int | None = added(None)  # images of train to validate on instead of val, >= 1
    patch: int = 256  # side of the random crop, pixels, a multiple of the model's stride
    batch_size: int = 32  # crops per optimiser step, of all processes of a run together
    crops_per_epoch: int | None = None  # None: one crop per image; else this many, images cycling
    workers: int = 4  # loader processes of each training process; 0 loads in that itself
    # keep decoded images: in the run's memory, or on disk, once for all runs of a machine
    cache: Annotated[Literal["none", "memory", "disk"], BeforeValidator(_once_a_switch)] = "none"

    def __post_init__(self) -> None:
        bounded(self, "patch", "batch_size", "crops_per_epoch", "holdout", least=1)
        bounded(self, "workers", least=0)
        if self.val is not None and self.holdout is not None:
            raise ValueError(
                f"val is {self.val!r} and holdout is {self.holdout}; a run is validated on one of "
                "them, so the other is null"
            )
        if self.val is None and self.holdout is None:
            raise ValueError("val is null; name a set, or hold images of train out by holdout")
        if self.crops_per_epoch is not None and self.crops_per_epoch < self.batch_size:
            raise ValueError(
                f"crops_per_epoch is {self.crops_per_epoch}, fewer than a batch ({self.batch_size})"
            )


@config_class
class Ema:
    """An average of the weights, scored as ``val_ema_*``; the model that is saved is not averaged.

    Each validation then takes twice as long. The first 1 / (1 - decay) steps are averaged evenly.
    """

    decay: float | None = None  # per optimiser step, in (0, 1); None is off

    def __post_init__(self) -> None:
        if self.decay is not None and not 0 < self.decay < 1:
            raise ValueError(f"decay is {self.decay}; must be above 0 and below 1")


@config_class
class Precision:
    """How a step computes. Likelihoods, rounding and the loss are never in low precision.

    What is null is chosen by the preset: ``reference`` turns everything off, ``auto`` takes what
    suits the device, and `python -m hpcm train` prints it.
    """

    preset: Literal["reference", "auto"] = added("reference")  # what fields that are null mean
    autocast: Literal["none", "bfloat16"] | None = None  # of the model's forward pass
    channels_last: bool | None = None  # layout of convolutions in memory
    # steps between looks at the device, >= 1, for losses and gradients that are not finite
    check_every: int | None = added(None)
    # model and loss as one graph by torch.compile, minutes of work at the start
    compile: Literal["none", "graph"] | None = added(None)
    # whole steps as CUDA graphs: a step costs the host one launch; it cannot wait for the device
    cuda_graph: bool | None = added(None)
    threads: int | None = None  # CPU threads of torch, 1 to 1,024; None leaves torch's choice

    def __post_init__(self) -> None:
        bounded(self, "check_every", least=1)
        if self.preset == "reference":  # earlier versions wrote these two, and digests hold them
            object.__setattr__(self, "autocast", self.autocast or "none")
            object.__setattr__(self, "channels_last", bool(self.channels_last))
        if self.threads is not None and not 1 <= self.threads <= MOST_CORES:
            raise ValueError(f"threads is {self.threads}; must be 1 to {MOST_CORES:,}")


@config_class
class TrainConfig:
    """One training from start to end. See the part classes for what their fields mean."""

    model: ModelConfig = field(default_factory=ModelConfig)
    start_from: str | None = None  # weights under $HPCM_CHECKPOINTS, or "sample"; None: random ones
    loss: LossConfig = field(default_factory=LossConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: Annotated[OptimizerConfig, OneOf(OPTIMIZERS, "adam")] = field(default_factory=Adam)
    balancer: Annotated[BalancerConfig, OneOf(BALANCERS, "sum")] = field(default_factory=Sum)
    regularizers: Regularizers = field(default_factory=Regularizers)
    lr_schedule: LrSchedule = field(default_factory=LrSchedule)
    parts: Parts = field(default_factory=Parts)
    early_stopping: EarlyStopping = field(default_factory=EarlyStopping)
    ema: Ema = added(Ema)
    precision: Precision = field(default_factory=Precision)
    clip_max_norm: float = hot(1.0)  # total gradient norm, > 0
    epochs: int = 3000  # epochs run; truncates, never bends a schedule
    schedule_horizon: int = 3000  # epochs at which every schedule reaches t = 1
    validate_every: int = 1  # epochs between validations; the last epoch always has one
    seed: int = 0  # of the first weights, the crops and the noise

    def __post_init__(self) -> None:
        bounded(self, "epochs", "schedule_horizon", "validate_every", least=1)
        bounded(self, "clip_max_norm", above=0)
        check_tasks(self.loss, self.balancer.tasks, self.data.patch)
        often = self.precision.check_every
        if often is not None and often > 1 and self.waits_each_step:
            raise ValueError(
                f"precision.check_every is {often}, but {self.waits_each_step}; it can be 1 or null"
            )
        why = self.waits_each_step or ("precision.check_every is 1" if often == 1 else "")
        if self.loss.metric == "ms_ssim":
            why = why or "loss.metric ms_ssim copies its window to the GPU in each step"
        if self.precision.cuda_graph and why:
            raise ValueError(f"precision.cuda_graph is true, but {why}; it can be false or null")
        if self.ema.decay is not None and self.optimizer.averages:
            raise ValueError(
                f"ema.decay is {self.ema.decay}, but optimizer {self.optimizer.name} averages its "
                "weights already; leave one of them out"
            )
        if self.early_stopping.needs_scales and not self.tasks.has_scales:
            raise ValueError(
                f"early_stopping.patience is {self.early_stopping.patience}, but the tasks "
                f"{self.balancer.tasks} have no scales to stop; use balancer.tasks rate4 or exact5"
            )

    @property
    def tasks(self) -> TaskSet:
        """The losses that the balancer weighs."""
        return TASK_SETS[self.balancer.tasks]

    @classmethod
    def from_plain(cls, data: dict[str, Any], where: str) -> TrainConfig:
        """Read nested dicts. Raises :class:`ConfigError` naming ``where`` and the key."""
        return load(cls, data, where)

    @classmethod
    def from_yaml(cls, path: str | Path, overrides: list[str] | None = None) -> TrainConfig:
        """Read a file, then ``key.path=value`` overrides. Raises :class:`ConfigError`."""
        data = read_yaml(path)
        if "parameters" in data:
            raise ConfigError(
                f"{path}: a search space, not a run config; python tune.py --space {path} searches"
                " it and exports one"
            )
        for text in overrides or []:
            data = overlay(data, override(text))
        return cls.from_plain(data, str(path))

    def to_plain(self) -> dict[str, Any]:
        """Nested dicts with every field; :meth:`from_plain` reads them back to an equal config."""
        plain: dict[str, Any] = to_plain(self)
        return plain

    def to_yaml(self, path: str | Path, header: str = "") -> None:
        """Write the whole tree, after ``header`` as comment lines. Raises OSError."""
        comment = "".join(f"# {line}".rstrip() + "\n" for line in header.splitlines())
        text = comment + yaml.safe_dump(self.to_plain(), sort_keys=False)
        write_atomically(Path(path), text.encode())

    def with_epochs(self, epochs: int) -> TrainConfig:
        """The same run, cut or prolonged to ``epochs``; schedules keep their horizon."""
        return replace(self, epochs=epochs)

    @property
    def waits_each_step(self) -> str:
        """Why a step has to know at once whether it is taken; nothing if it does not."""
        if not self.optimizer.skips_on_device:
            return f"optimizer {self.optimizer.name} cannot skip a step on the device"
        on = [name for name, part in self.regularizers.items() if part.on]
        return f"regularizer {on[0]} looks at the steps that are taken" if on else ""

    @property
    def digest(self) -> str:
        """12 hex digits over all that decides the numbers; ``epochs`` and loader knobs do not."""
        plain = to_plain(self, every=False)
        for path in ("epochs", *HARMLESS):
            set_path(plain, path, None)
        del plain["precision"]["check_every"]  # older digests have no such key
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:12]
