"""Search over run configs: docs/architecture.md says which room does what."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuning.on_ray.experiment import run_experiment
    from tuning.results.export import best_config
    from tuning.results.tables import read_result
    from tuning.simulation.simulate import simulate
    from tuning.spaces.loading import load_space

__all__ = ["best_config", "load_space", "read_result", "run_experiment", "simulate"]

HOMES = {
    "best_config": "tuning.results.export",
    "load_space": "tuning.spaces.loading",
    "read_result": "tuning.results.tables",
    "run_experiment": "tuning.on_ray.experiment",
    "simulate": "tuning.simulation.simulate",
}


def __getattr__(name: str) -> Any:
    """A public function, fetched at its first use: a trial's process needs few of the modules."""
    if name not in HOMES:
        raise AttributeError(f"module 'tuning' has no attribute {name!r}")
    return getattr(import_module(HOMES[name]), name)
