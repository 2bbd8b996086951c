"""`Run`: everything one training consists of, built from its config."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import nn

from hpcm.config import TrainConfig
from hpcm.losses import Regularizer
from hpcm.model import build_model
from hpcm.model.checkpoint import load_weights, read_weights
from hpcm.optimizers.balancer import Balancer
from hpcm.optimizers.early_stopping import ScaleStopper
from hpcm.optimizers.param_groups import part_of
from hpcm.schema import ConfigError
from hpcm.training.allocator import keep_freed_memory
from hpcm.training.average import WeightAverage
from hpcm.training.inputs import start_weights
from hpcm.training.precision import Settings, check_recordable, settle
from hpcm.training.seeding import NOISE, initial_weights

NEEDED = ("stride", "latent_channels", "noise_shapes")  # of a model that is given


@dataclass
class Run:
    """The moving parts of one training. ``epoch`` and ``step`` count what is finished."""

    cfg: TrainConfig
    device: torch.device
    model: nn.Module
    optimizer: torch.optim.Optimizer
    balancer: Balancer
    regularizers: dict[str, Regularizer]
    stopper: ScaleStopper
    precision: Settings
    average: WeightAverage | None = None
    epoch: int = 0
    step: int = 0
    lr: float = 0.0  # learning rate of the current epoch, of a part with factor 1
    noise: str = NOISE  # what draws the training noise, a key of NOISES
    trainable: int = 0  # parameter values that train in the current epoch

    @classmethod
    def build(cls, cfg: TrainConfig, model: nn.Module | None, device: str | None) -> Run:
        """Fresh parts for ``cfg``; ``model`` is trained in place if one is given."""
        place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if cfg.precision.threads is not None:
            torch.set_num_threads(cfg.precision.threads)
        if model is not None:
            check_trainable(model)
        precision = settle(cfg, place)
        if place.type == "cpu":
            keep_freed_memory()
        with initial_weights(cfg.seed):
            model = build_model(cfg.model) if model is None else model
            if cfg.start_from is not None:
                weights = read_weights(start_weights(cfg.start_from, cfg.loss.lmbda))
                load_weights(model, weights, f"start_from: {cfg.start_from}")
            channels = cast("int", model.latent_channels)
            parts = {name: part.build(channels) for name, part in cfg.regularizers.items()}
        model = model.to(place)
        if precision.channels_last:
            lay_out(model, torch.channels_last)
        balancer = cfg.balancer.build(cfg.tasks, place)
        if precision.cuda_graph:
            check_recordable(balancer, cfg.balancer.name)
        decay = cfg.ema.decay
        return cls(
            cfg=cfg,
            device=place,
            model=model,
            optimizer=cfg.optimizer.build(cfg.parts.groups(model.named_parameters())),
            balancer=balancer,
            regularizers={name: part.to(place) for name, part in parts.items()},
            stopper=cfg.early_stopping.build(),
            precision=precision,
            average=None if decay is None else WeightAverage(model, decay),
        )

    def progress(self, fraction: float = 0.0) -> float:
        """Progress t in the horizon, ``fraction`` of the way through the current epoch."""
        return (self.epoch + fraction) / self.cfg.schedule_horizon

    def apply_config(self) -> None:
        """Give every hot value its configured, scheduled value; the config wins over a restore."""
        t, cfg = self.progress(), self.cfg
        named = list(self.model.named_parameters())
        self.trainable = cfg.parts.set_trainable(named, t, self.stopper.stopped)
        cfg.parts.apply(self.optimizer, t, 1 / cfg.schedule_horizon)
        factor = cfg.lr_schedule.factor(t)
        self.lr = cfg.optimizer.lr * factor
        cfg.optimizer.apply(self.optimizer, factor)
        self.balancer.model_lr = self.lr
        self.balancer.apply(cfg.balancer, t, self.epoch)


def check_trainable(model: nn.Module) -> None:
    """Refuse a model that this project's training cannot run. Raises :class:`ConfigError`."""
    missing = [name for name in NEEDED if not hasattr(model, name)]
    kind = type(model).__name__
    if missing:
        raise ConfigError(
            f"{kind} cannot be trained here: it has no {', '.join(missing)};"
            " docs/evaluation.md says what a model must be and give"
        )
    for name, _ in model.named_parameters():
        try:
            part_of(name)
        except ValueError as error:
            raise ConfigError(f"{kind} cannot be trained here: {error}") from None


def lay_out(model: nn.Module, layout: torch.memory_format) -> None:
    """Put the weights of convolutions into ``layout``; their outputs follow.

    ``Module.to`` does the same, except that it refuses buffers of five dimensions.
    """
    for parameter in model.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=layout)
