"""What is known of a run config without importing torch."""

from __future__ import annotations

#: What a run minimises if its config does not say so.
METRIC = "mse"  # the distortion D
LMBDA = 0.013  # bits per pixel per unit of D

#: Fields that change none of a run's numbers.
HARMLESS = ("data.workers", "data.cache", "precision.threads", "precision.check_every")

MOST_CORES = 1024  # that one machine has; a run or a trial that asks for more is refused
