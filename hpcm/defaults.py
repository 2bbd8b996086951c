"""What a run minimises if its config does not say so; known without importing torch."""

from __future__ import annotations

METRIC = "mse"  # the distortion D
LMBDA = 0.013  # bits per pixel per unit of D
