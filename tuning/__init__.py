"""Search over run configs; the only package that imports Ray or Optuna."""

from __future__ import annotations

from tuning.space import load_space

__all__ = ["load_space"]
