"""The generalised Gaussian's interval mass in float64 with SciPy, and its derivatives by hand."""

from __future__ import annotations

import numpy as np
from scipy.stats import gennorm

Array = np.ndarray

BETA = 1.5
SCALE_BOUND = float(np.float32(0.12))  # the bounds are float32 buffers of the state dict
LIKELIHOOD_BOUND = float(np.float32(1e-9))


def mass(values: Array, scales: Array) -> Array:
    """P(v - 1/2 < X < v + 1/2) at scale max(s, 0.12), from the tail that is smaller; no bound."""
    v, s = np.abs(values), np.maximum(scales, SCALE_BOUND)
    return gennorm.sf((v - 0.5) / s, BETA) - gennorm.sf((v + 0.5) / s, BETA)


def likelihood(values: Array, scales: Array) -> Array:
    """The mass, at least 1e-9."""
    return np.maximum(mass(values, scales), LIKELIHOOD_BOUND)


def bits_gradients(values: Array, scales: Array) -> tuple[Array, Array]:
    """Derivatives of -log2(likelihood) to value and scale; the bounds pass descent that raises."""
    s = np.maximum(scales, SCALE_BOUND)
    upper, lower = (values + 0.5) / s, (values - 0.5) / s
    outer = -1 / (np.log(2) * likelihood(values, scales))  # never positive: passes the lower bound
    to_value = outer * (gennorm.pdf(upper, BETA) - gennorm.pdf(lower, BETA)) / s
    to_scale = -outer * (upper * gennorm.pdf(upper, BETA) - lower * gennorm.pdf(lower, BETA)) / s
    return to_value, np.where((scales >= SCALE_BOUND) | (to_scale < 0), to_scale, 0)
