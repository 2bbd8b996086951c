"""Regularizer on the input: early in training, images keep only their low frequencies."""

from __future__ import annotations

from typing import Literal

from hpcm.schema import config_class


@config_class
class DctTruncation:
    """Multiplies each image's DCT by a mask whose radius ``tau`` grows; off where ``end`` is 0."""

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
        if self.tau_final is not None and not self.tau_final > 0:
            raise ValueError(f"tau_final is {self.tau_final}; must be above 0")
        if not 0 < self.tau_init <= self.last_tau:
            raise ValueError(f"tau_init is {self.tau_init}; must be in (0, {self.last_tau:.4g}]")

    @property
    def last_tau(self) -> float:
        """``tau_final``, or its default: the published 1, or the radius whose mask is the identity."""
        if self.tau_final is not None:
            return self.tau_final
        return 1.0 if self.rolloff == 1 else 2**0.5 / (1 - self.rolloff)
