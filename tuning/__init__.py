"""Search over run configs; the only package that imports Ray or Optuna."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuning.analysis import read_result
    from tuning.experiment import run_experiment
    from tuning.export import best_config
    from tuning.spaces.loading import load_space

__all__ = ["best_config", "load_space", "read_result", "run_experiment"]

HOMES = {
    "best_config": "tuning.export",
    "load_space": "tuning.spaces.loading",
    "read_result": "tuning.analysis",
    "run_experiment": "tuning.experiment",
}


def __getattr__(name: str) -> Any:
    """A public function, fetched at its first use: a trial's process needs few of the modules."""
    if name not in HOMES:
        raise AttributeError(f"module 'tuning' has no attribute {name!r}")
    return getattr(import_module(HOMES[name]), name)
