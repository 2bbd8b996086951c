"""Regularizer between the latents of neighbouring scales.

After Eq. 6 of Cong et al., Taming Hierarchical Image Coding Optimization (ICLR 2026), whose
scales are separately coded latents. HPCM's s1 and s2 are sub-lattices of s3, so the finer latent
holds the coarser one; with ``latents: innovation`` the symbols it inherited are set to 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hpcm.choices import NameOf
from hpcm.full_precision import at_least_float32, full_precision
from hpcm.losses.diverged import Diverged
from hpcm.losses.haar import haar, mean_of_cells
from hpcm.losses.inter_scale_modes import MODES, prediction_error
from hpcm.losses.regularizer import Regularizer, RegularizerConfig
from hpcm.schema import ConfigError, bounded, config_class, hot

SCALES = ("s1", "s2", "s3")  # coarsest first

# Where in each 2 x 2 cell of the finer grid the coarser scale's symbol lies, per equal group of
# channels: s1 in s2, and s2 in s3 (HPCM, section 3.2).
INHERITED = (
    ((0, 0), (0, 1), (1, 0), (1, 1)),
    ((0, 0), (1, 1), (0, 1), (1, 0)) * 2,
)

BASELINE_STEPS = 16  # first steps of the term, which give the RMS that growth is measured from
MAX_GROWTH = 4.0  # of the largest channel's RMS over that baseline
PIXELS_PER_LATENT = 256  # one position of y is 16 x 16 pixels


@config_class
class InterScale(RegularizerConfig):
    """A term of weight ``delta`` between each scale's latent and the next finer one's; 0 is off."""

    delta: float = hot(0.0)  # bits per pixel per unit of the term, >= 0; 0 is off
    mode: Annotated[str, NameOf(MODES)] = "rho2"  # how two latents are compared
    latents: Literal["nested", "innovation"] = "innovation"  # innovation: coarser symbols set to 0
    start: float = 100 / 3000  # fraction of the horizon in [0, 1] from which the term counts
    align_lr: float = hot(1e-3)  # Adam step of the alignment, > 0; mode repo does not train it

    def __post_init__(self) -> None:
        bounded(self, "delta", least=0)
        bounded(self, "align_lr", above=0)
        if not 0 <= self.start <= 1:
            raise ValueError(f"start is {self.start}; must be a fraction of the horizon, 0 to 1")

    @property
    def on(self) -> bool:
        """Whether the term has a weight."""
        return self.delta > 0

    def scheduled(self, t: float) -> dict[str, float]:
        """The weight; 0 before the term counts."""
        return {"spectral/delta": self.delta if t >= self.start else 0.0}

    def build(self, latent_channels: int) -> InterScaleTerm:
        """The term for latents of so many channels, its alignment drawn from a fixed seed."""
        return InterScaleTerm(self, latent_channels)


class InterScaleTerm(Regularizer):
    """The term, the alignment it needs with that one's own Adam, and a guard against divergence.

    ``state_dict`` holds all of it. A step calls :meth:`penalty` before the backward pass and
    :meth:`fit` after the optimiser step; neither waits for the device. :meth:`check` and
    :meth:`log` do, so they are for every few dozen steps or the end of an epoch.
    """

    phase = 2
    recent: (
        Tensor  # since the last check: sum of the term, of the largest channel RMS, finite steps
    )
    baseline: Tensor  # over the first steps: sum of the largest channel's RMS, finite steps
    _keep0: Tensor | None
    _keep1: Tensor | None

    def __init__(self, config: InterScale, latent_channels: int) -> None:
        super().__init__()
        self.config = config
        self._mode = MODES[config.mode]
        self.align = nn.ParameterList(_alignment(config, latent_channels))
        self._adam = torch.optim.Adam(self.align, lr=config.align_lr)
        self.register_buffer("recent", torch.zeros(3))
        self.register_buffer("baseline", torch.zeros(2))
        self._steps = 0
        self._unchecked = 0
        self._checked: dict[str, float] = {}
        for level, positions in enumerate(INHERITED):
            keep = _keep(positions, latent_channels) if config.latents == "innovation" else None
            self.register_buffer(f"_keep{level}", keep, persistent=False)

    def active(self, t: float) -> bool:
        """Whether the term counts at progress ``t`` of the horizon."""
        return self.config.on and t >= self.config.start

    def penalty(self, latents: Mapping[str, Tensor], t: float) -> Tensor:
        """The term times ``delta``, to be added to the loss; (), 0 before its start.

        ``latents`` are the model's s1, s2, s3, each (B, C, h, w) on its own grid. The alignment
        gets no gradient from it. Raises :class:`ConfigError` for a model without latents.
        """
        _demand(latents)
        if not self.active(t):
            return at_least_float32(latents["s3"]).new_zeros(())
        with full_precision(latents["s3"]):
            weights = [weight.detach() for weight in self.align]
            term = self._term(latents, weights)
            self._observe(term.detach(), at_least_float32(latents["s3"].detach()))
        return term

    def fit(self, latents: Mapping[str, Tensor]) -> None:
        """One Adam step of the alignment on these latents, if the mode trains it."""
        if self._mode.trained == "no":
            return
        detached = {name: latents[name].detach() for name in SCALES}
        with full_precision(detached["s3"]), torch.enable_grad():
            weights = [weight.detach().requires_grad_() for weight in self.align]
            if self._mode.trained == "by_term":
                loss = self._term(detached, weights)
            else:
                loss = torch.stack(
                    [prediction_error(u, p) for u, p in self._pairs(detached, weights)]
                ).sum()
            gradients = torch.autograd.grad(loss, weights)
        for weight, gradient in zip(self.align, gradients, strict=True):
            weight.grad = gradient
        for group in self._adam.param_groups:
            group["lr"] = self.config.align_lr
        self._adam.step()
        self._adam.zero_grad(set_to_none=True)

    def check(self, rd_cost: float) -> None:
        """Judge the steps since the last check against ``rd_cost``, their mean in bits per pixel.

        Raises :class:`Diverged` when the term is larger than the cost it is added to; when it was
        never finite; and, in the modes that reward large latents, when the largest channel's RMS
        has grown fourfold and passed the point from which the reward outgrows its rate.
        """
        if not self._unchecked:
            return
        values = self._read()
        finite = float(self.recent[2])
        self._checked, self._unchecked = values, 0
        self.recent.zero_()
        if not finite:
            raise Diverged("regularizers.inter_scale: the term is not finite")
        term, rms = values["spectral/term"], values["spectral/rms_max"]
        if abs(term) > rd_cost:
            raise Diverged(
                f"regularizers.inter_scale: the term is {term:.4g}, more than the "
                f"rate-distortion cost {rd_cost:.4g} it is added to"
            )
        limit = max(MAX_GROWTH * values["spectral/rms_baseline"], self._runaway_rms())
        if not self._mode.bounded and rms > limit:
            raise Diverged(
                f"regularizers.inter_scale: the RMS of a channel is {rms:.4g}, at the start of "
                f"the term it was {values['spectral/rms_baseline']:.4g}"
            )

    def log(self, t: float) -> dict[str, float]:
        """Means since the last check: the term, the largest channel RMS; and the norm of A.

        Nothing before the term counts.
        """
        if not self.active(t):
            return {}
        return self._read() if self._unchecked else dict(self._checked)

    def get_extra_state(self) -> dict[str, Any]:
        """What is no tensor of its own: Adam's state and the counters of the guard."""
        return {
            "adam": self._adam.state_dict(),
            "steps": self._steps,
            "unchecked": self._unchecked,
            "checked": dict(self._checked),
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`get_extra_state` gave."""
        self._adam.load_state_dict(state["adam"])
        self._steps, self._unchecked = state["steps"], state["unchecked"]
        self._checked = dict(state["checked"])

    def _term(self, latents: Mapping[str, Tensor], weights: list[Tensor]) -> Tensor:
        terms = torch.stack([self._mode.pair(u, p) for u, p in self._pairs(latents, weights)])
        return self.config.delta * (terms.mean() if self._mode.average else terms.sum())

    def _pairs(
        self, latents: Mapping[str, Tensor], weights: list[Tensor]
    ) -> list[tuple[Tensor, Tensor]]:
        """Each coarser latent (B, C, h, w) and the next finer one, aligned to it."""
        own = [at_least_float32(latents[name]) for name in SCALES]
        for level, keep in enumerate((self._keep0, self._keep1)):
            if keep is not None:
                own[level + 1] = _mask_cells(own[level + 1], keep)
        shrink = haar if self._mode.bands == 4 else mean_of_cells
        return [
            (coarse, F.conv2d(shrink(fine), weight.to(fine.dtype)[:, :, None, None]))
            for (coarse, fine), weight in zip(pairwise(own), weights, strict=True)
        ]

    @torch.no_grad()
    def _observe(self, term: Tensor, y_hat: Tensor) -> None:
        rms = y_hat.square().mean(dim=(0, 2, 3)).max().sqrt()
        seen = torch.stack([term, rms, torch.ones_like(rms)]).to(self.recent)
        seen = torch.where(seen.isfinite().all(), seen, torch.zeros_like(seen))
        self.recent += seen
        if self._steps < BASELINE_STEPS:
            self.baseline += seen[1:]
        self._steps += 1
        self._unchecked += 1

    def _read(self) -> dict[str, float]:
        norm = torch.stack([weight.detach().norm() for weight in self.align]).norm()
        term, rms, finite, first_rms, first, norm = torch.cat(
            [self.recent, self.baseline, norm.reshape(1).to(self.recent)]
        ).tolist()
        return {
            "spectral/term": term / max(finite, 1),
            "spectral/rms_max": rms / max(finite, 1),
            "spectral/rms_baseline": first_rms / max(first, 1),
            "spectral/align_norm": norm,
        }

    def _runaway_rms(self) -> float:
        """RMS in quantiser steps above which one more unit of it earns more than its rate costs."""
        channels = self.align[0].shape[0]
        return math.sqrt(channels / (2 * self.config.delta * math.log(2) * PIXELS_PER_LATENT))


def _alignment(config: InterScale, channels: int) -> list[nn.Parameter]:
    """The two matrices A (C, C bands) of 1 x 1 convolutions without bias; never in a model's loss.

    A predictor starts at 0; the public code's projection at a tenth of the fan-out initialisation;
    else the variance is 1 over the inputs, which keeps the energy of white latents.
    """
    mode = MODES[config.mode]
    inputs = channels * mode.bands
    std = {"no": 0.1 / math.sqrt(channels), "by_term": 1 / math.sqrt(inputs), "to_predict": 0.0}
    generator = torch.Generator().manual_seed(0)
    return [
        nn.Parameter(
            std[mode.trained] * torch.randn(channels, inputs, generator=generator),
            requires_grad=False,
        )
        for _ in pairwise(SCALES)
    ]


def _keep(inherited: tuple[tuple[int, int], ...], channels: int) -> Tensor:
    """1 where a finer scale's symbols are its own, 0 where they are inherited; (C, 1, 2, 1, 2)."""
    keep = torch.ones(channels, 1, 2, 1, 2)
    size = channels // len(inherited)
    for group, (row, column) in enumerate(inherited):
        keep[group * size : (group + 1) * size, :, row, :, column] = 0
    return keep


def _mask_cells(x: Tensor, keep: Tensor) -> Tensor:
    cells = x.unflatten(-1, (-1, 2)).unflatten(-3, (-1, 2))  # (B, C, h/2, 2, w/2, 2)
    kept: Tensor = cells * keep.to(x.dtype)
    return kept.flatten(-2).flatten(-3, -2)  # (B, C, h, w)


def _demand(latents: Mapping[str, Tensor]) -> None:
    missing = [name for name in SCALES if name not in latents]
    if missing:
        raise ConfigError(
            f"regularizers.inter_scale: the model gives no latents {', '.join(missing)}"
        )
