"""Search over run configs; the only package that imports Ray or Optuna."""

from __future__ import annotations

from tuning.analysis import read_result
from tuning.experiment import run_experiment
from tuning.export import best_config
from tuning.space import load_space

__all__ = ["best_config", "load_space", "read_result", "run_experiment"]
