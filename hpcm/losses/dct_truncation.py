"""Regularizer on the input: early in training, images keep only their low frequencies.

After Eq. 3-5 of Cong et al., Taming Hierarchical Image Coding Optimization (ICLR 2026). The image
is both the model's input and its target, so rate and distortion of such a step are of the blurred
image; validation never is. The published mask still attenuates every frequency at its end
(26 % of the coefficients' amplitude is left on average), then jumps to the identity; ``rolloff``
below 1 gives it a plateau that reaches the identity by itself.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from hpcm.full_precision import at_least_float32, full_precision
from hpcm.losses.regularizer import Regularizer, RegularizerConfig
from hpcm.schema import bounded, config_class

EVERY_FREQUENCY = math.sqrt(2)  # largest radius of a coefficient


@config_class
class DctTruncation(RegularizerConfig):
    """Multiplies each image's DCT by a mask whose radius ``tau`` grows; off if ``end`` is 0."""

    tau_init: float = 0.05  # radius at the start, 1 = Nyquist of one axis; in (0, tau_final]
    tau_final: float | None = None  # radius at the end, > 0; None: 1 if rolloff is 1, else identity
    end: float = 0.0  # fraction of the horizon in [0, 1] from which images are whole; 0 is off
    rolloff: float = 1.0  # falling part of the mask over tau, in (0, 1]; 1 is as published
    kind: Literal["linear", "exponential"] = "linear"  # how tau grows

    def __post_init__(self) -> None:
        if not 0 < self.rolloff <= 1:
            raise ValueError(f"rolloff is {self.rolloff}; must be above 0 and at most 1")
        if not 0 <= self.end <= 1:
            raise ValueError(f"end is {self.end}; must be a fraction of the horizon, 0 to 1")
        bounded(self, "tau_final", above=0)
        if not 0 < self.tau_init <= self.last_tau:
            raise ValueError(f"tau_init is {self.tau_init}; must be in (0, {self.last_tau:.4g}]")

    @property
    def last_tau(self) -> float:
        """``tau_final``, by default 1 as published, or one that makes the mask the identity."""
        if self.tau_final is not None:
            return self.tau_final
        return 1.0 if self.rolloff == 1 else math.sqrt(2) / (1 - self.rolloff)

    @property
    def on(self) -> bool:
        """Whether images are truncated at first."""
        return self.end > 0

    def tau(self, t: float) -> float:
        """Radius of the mask at progress ``t``, in units of one axis' Nyquist frequency."""
        first, last = self.tau_init, self.last_tau
        if t >= self.end:
            return last
        share = max(t, 0.0) / self.end
        if self.kind == "exponential":
            return first * math.pow(last / first, share)
        return first + (last - first) * share

    def scheduled(self, t: float) -> dict[str, float]:
        """The radius; once images are whole, one that holds every frequency."""
        tau = self.tau(t)
        return {"spectral/tau": tau if t < self.end else max(tau, EVERY_FREQUENCY)}

    def build(self, latent_channels: int) -> DctTruncator:
        """The transform; it has no state, and the same for every model."""
        return DctTruncator(self)


class DctTruncator(Regularizer):
    """Truncates batches of images; a pure function of the batch and of progress t."""

    phase = 1

    def __init__(self, config: DctTruncation) -> None:
        super().__init__()
        self.config = config
        self._matrices: dict[tuple[int, torch.device, torch.dtype], Tensor] = {}
        self._radii: dict[tuple[int, int, torch.device, torch.dtype], Tensor] = {}

    def active(self, t: float) -> bool:
        """Whether :meth:`transform` changes images at progress ``t`` of the horizon."""
        return t < self.config.end

    def transform(self, x: Tensor, t: float) -> Tensor:
        """``x`` (B, C, H, W) without its high frequencies, not clamped; ``x`` after the end."""
        if not self.active(t):
            return x
        height, width = x.shape[-2:]
        with full_precision(x), torch.no_grad():
            signal = at_least_float32(x)
            rows, columns = self._matrix(height, signal), self._matrix(width, signal)
            tau = self.config.tau(t)
            mask = band_mask(self._radius(height, width, signal), tau, self.config.rolloff)
            spectrum = rows @ signal @ columns.T * mask  # (B, C, H, W)
            return (rows.T @ spectrum @ columns).to(x.dtype)  # (B, C, H, W)

    def log(self, t: float) -> dict[str, float]:
        """The radius in use; after the end one that holds every frequency. Nothing if it is off."""
        return self.config.scheduled(t) if self.config.on else {}

    def _matrix(self, n: int, like: Tensor) -> Tensor:
        key = (n, like.device, like.dtype)
        if key not in self._matrices:
            self._matrices[key] = dct_matrix(n).to(like.device, like.dtype)
        return self._matrices[key]

    def _radius(self, height: int, width: int, like: Tensor) -> Tensor:
        key = (height, width, like.device, like.dtype)
        if key not in self._radii:
            self._radii[key] = radius(height, width).to(like.device, like.dtype)
        return self._radii[key]


def dct_matrix(n: int) -> Tensor:
    """The orthonormal DCT-II of length ``n`` as a matrix: row k is frequency k; (n, n), float64.

    In float32 its rows would be orthogonal to 2e-5 only; made in float64 and cast, to 1e-7.
    """
    k = torch.arange(n, dtype=torch.float64)
    rows = torch.cos(math.pi * k[:, None] * (2 * k + 1) / (2 * n)) * math.sqrt(2 / n)
    rows[0] = math.sqrt(1 / n)
    return rows


def radius(height: int, width: int) -> Tensor:
    """Distance of each coefficient from DC, 1 at one axis' Nyquist frequency; (H, W), float64."""
    v = torch.arange(height, dtype=torch.float64)[:, None] / height
    u = torch.arange(width, dtype=torch.float64) / width
    return (v.square() + u.square()).sqrt()


def band_mask(r: Tensor, tau: float, rolloff: float) -> Tensor:
    """1 up to (1 - rolloff) tau, falling to 0 at tau > 0; with rolloff 1 the paper's Eq. 4."""
    return ((tau - r) / (rolloff * tau)).clamp(0, 1)
