"""Named parts of HPCM: their learning rates, and which of them train when.

A part is a set of parameters, recognised by the beginning of their names in the model; every
parameter is in exactly one. The optimizer always holds all of them, one group per part: a frozen
parameter has no gradient, so the optimizer skips it, and it moves again as soon as it is unfrozen.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import field
from typing import Any, Literal

import torch
from torch import Tensor

from hpcm.schema import config_class, hot

NamedParameters = Iterable[tuple[str, Tensor]]

# Beginnings of the names of each part's parameters. The context modules are two thirds of
# HPCM-Base; none but context_net has "context" in its name. entropy is the prior of z.
PARTS: dict[str, tuple[str, ...]] = {
    "g_a": ("g_a.",),
    "g_s": ("g_s.",),
    "h_a": ("h_a.",),
    "h_s": ("h_s.",),
    "context": ("y_spatial_prior_", "attn_s", "context_net.", "adaptive_params_list."),
    "entropy": ("means_hyper", "scales_hyper"),
}

# Which scales (1, 2, 3) a context parameter works for. A gain belongs to its coding step, a
# context_net layer to the scale whose context it makes; so does attn_s1, for s1 has no step after
# its attention. Whatever is not here works for all.
SCALES_OF: dict[str, tuple[int, ...]] = {
    "y_spatial_prior_adaptor_list_s1.": (1,),
    "y_spatial_prior_adaptor_list_s2.": (2,),
    "y_spatial_prior_adaptor_list_s3.": (3,),
    "y_spatial_prior_s1_s2.": (1, 2),
    "y_spatial_prior_s3.": (3,),
    "attn_s1.": (2,),
    "attn_s2.": (2,),
    "attn_s3.": (3,),
    "context_net.0.": (2,),
    "context_net.1.": (3,),
} | {f"adaptive_params_list.{gain}": (1 + (gain > 0) + (gain > 3),) for gain in range(10)}

ALL_SCALES = (1, 2, 3)
ROUNDING = 1e-9  # of a fraction of the horizon


@config_class
class PartRate:
    """Learning rate of one part, as a factor on the optimizer's."""

    mult: float = hot(1.0)  # constant factor, > 0
    warmup: float = 0.0  # fraction of the horizon in [0, 1) in which the factor rises linearly
    decays: tuple[float, ...] = ()  # ascending fractions of the horizon, each lowers the factor
    decay_rate: float = 0.5  # by this factor, in (0, 1]

    def __post_init__(self) -> None:
        if not self.mult > 0:
            raise ValueError(f"mult is {self.mult}; must be above 0 (a part is frozen by freeze)")
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup is {self.warmup}; must be in [0, 1)")
        if not 0 < self.decay_rate <= 1:
            raise ValueError(f"decay_rate is {self.decay_rate}; must be in (0, 1]")
        if list(self.decays) != sorted(self.decays) or not all(0 < d < 1 for d in self.decays):
            raise ValueError(f"decays is {list(self.decays)}; must be ascending, within (0, 1)")

    def factor(self, t: float, epoch: float) -> float:
        """The factor at progress ``t`` of the horizon, of which one epoch is the part ``epoch``."""
        if t < self.warmup - ROUNDING:
            return self.mult * (t + epoch) / self.warmup
        passed = sum(decay <= t + ROUNDING for decay in self.decays)
        return self.mult * self.decay_rate**passed


@config_class
class Parts:
    """Learning-rate factors of the model's parts, and which parts are frozen at first or for good.

    ``progressive`` starts with g_a and g_s, adds h_a, h_s and the prior of z, then the context.
    """

    g_a: PartRate = field(default_factory=PartRate)
    g_s: PartRate = field(default_factory=PartRate)
    h_a: PartRate = field(default_factory=PartRate)
    h_s: PartRate = field(default_factory=PartRate)
    context: PartRate = field(default_factory=PartRate)
    entropy: PartRate = field(default_factory=PartRate)
    # parts that do not train: none, the prior of z, all but the context, or first all but g_a, g_s
    freeze: Literal["none", "entropy", "context_only", "progressive"] = "none"
    unfreeze_hyper: float = 0.2  # progressive: fraction of the horizon, [0, unfreeze_context]
    unfreeze_context: float = 0.4  # progressive: fraction of the horizon, [unfreeze_hyper, 1]

    def __post_init__(self) -> None:
        if not 0 <= self.unfreeze_hyper <= self.unfreeze_context <= 1:
            raise ValueError(
                f"unfreeze_hyper is {self.unfreeze_hyper} and unfreeze_context is "
                f"{self.unfreeze_context}; must be in this order within [0, 1]"
            )

    def frozen(self, t: float) -> frozenset[str]:
        """The parts that do not train at progress ``t`` of the horizon."""
        if self.freeze == "none":
            return frozenset()
        if self.freeze == "entropy":
            return frozenset({"entropy"})
        if self.freeze == "context_only":
            return frozenset(PARTS) - {"context"}
        late = frozenset({"context"}) if t < self.unfreeze_context - ROUNDING else frozenset()
        if t < self.unfreeze_hyper - ROUNDING:
            return late | {"h_a", "h_s", "entropy"}
        return late

    def groups(self, parameters: NamedParameters) -> list[dict[str, Any]]:
        """One group per part that the model has, for an optimizer's ``build``; frozen ones too."""
        by_part: dict[str, list[Tensor]] = {part: [] for part in PARTS}
        for name, parameter in parameters:
            by_part[part_of(name)].append(parameter)
        return [
            {"params": found, "part": part, "lr_mult": getattr(self, part).mult}
            for part, found in by_part.items()
            if found
        ]

    def apply(self, optimizer: torch.optim.Optimizer, t: float, epoch: float) -> None:
        """Set every group's ``lr_mult`` for progress ``t``; then the optimizer config's ``apply``.

        ``epoch`` is one epoch as a fraction of the horizon.
        """
        for group in optimizer.param_groups:
            group["lr_mult"] = getattr(self, group["part"]).factor(t, epoch)

    def set_trainable(
        self, parameters: NamedParameters, t: float, stopped: Collection[int] = ()
    ) -> int:
        """Let the parameters that train at progress ``t`` have gradients, and no others.

        What works only for scales in ``stopped`` (1, 2, 3) is frozen too. Gives the number of
        trainable values. A pure function of its arguments, so a restore needs no state of it.
        """
        frozen, trainable = self.frozen(t), 0
        for name, parameter in parameters:
            live = part_of(name) not in frozen and not set(scales_of(name)) <= set(stopped)
            parameter.requires_grad_(live)
            if not live:
                parameter.grad = None
            trainable += parameter.numel() if live else 0
        return trainable


def part_of(name: str) -> str:
    """The part that the parameter ``name`` of an HPCM belongs to.

    Raises ``ValueError`` for a name that no part has.
    """
    for part, beginnings in PARTS.items():
        if name.startswith(beginnings):
            return part
    raise ValueError(f"parameter {name!r} is in no part; parts: {', '.join(PARTS)}")


def scales_of(name: str) -> tuple[int, ...]:
    """The scales (1, 2, 3) that the parameter ``name`` works for."""
    for beginning, scales in SCALES_OF.items():
        if name.startswith(beginning):
            return scales
    return ALL_SCALES
