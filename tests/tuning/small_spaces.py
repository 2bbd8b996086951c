"""A search space with one parameter of every kind, and how tests change its file."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

LR = {"type": "float", "low": 1.0e-5, "high": 5.0e-4, "log": True, "prior": 5.0e-5, "mutable": True}
SPACE: dict[str, Any] = {
    "name": "mine",
    "base": {"data": {"val": "sample_val", "batch_size": 4, "workers": 0}},
    "parameters": {
        "optimizer.lr": LR,
        "balancer.name": {
            "type": "categorical",
            "choices": ["sum", "famo", "famo_per_scale"],
            "prior": "famo_per_scale",
        },
        "balancer.gamma": {
            "type": "float",
            "low": 1.0e-5,
            "high": 3.0e-2,
            "log": True,
            "prior": 3.0e-3,
            "when": {"balancer.name": "famo"},
        },
        "balancer.scale_weights": {
            "type": "simplex",
            "size": 3,
            "low": 0.05,
            "prior": [0.3, 0.4, 0.3],
            "when": {"balancer.name": "famo_per_scale"},
        },
        "balancer.gamma_schedule.name": {
            "type": "categorical",
            "choices": ["fixed", "linear"],
            "prior": "fixed",
            "when": {"balancer.name": "famo_per_scale"},
        },
        "balancer.gamma_schedule.final": {
            "type": "float",
            "low": 0.1,
            "high": 1.0,
            "prior": 0.5,
            "when": {"balancer.gamma_schedule.name": ["linear"]},
        },
        "regularizers.inter_scale.delta": {
            "type": "float",
            "low": 1.0e-2,
            "high": 3.0e-1,
            "zero": 0.7,
            "prior": 0.0,
        },
        "regularizers.inter_scale.mode": {
            "type": "categorical",
            "choices": ["l1", "rho2"],
            "prior": "rho2",
            "when": {"regularizers.inter_scale.delta": "nonzero"},
        },
    },
    "fidelity": {"min": 2, "max": 18, "schedule_horizon": 100},
    "budget": {"trials": 16},
    "profiles": {
        "laptop": {
            "base": {"model": {"name": "hpcm_tiny"}},
            "fidelity": {"schedule_horizon": "max"},
            "resources": {"gpu": 0, "cpu": 1},
        }
    },
}

Change = Callable[[dict[str, Any]], object]


def write(folder: Path, change: Change, name: str = "mine", comment: str = "") -> Path:
    """SPACE, changed and written to ``folder``."""
    data = copy.deepcopy(SPACE) | {"name": name}
    change(data)
    path = folder / f"{name}.yaml"
    path.write_text(comment + yaml.safe_dump(data, sort_keys=False))
    return path


def put(path: str, value: Any) -> Change:
    """Set ``value`` at a ``/``-separated path of the file."""

    def change(data: dict[str, Any]) -> None:
        *parents, last = path.split("/")
        for parent in parents:
            data = data.setdefault(parent, {})
        data[last] = value

    return change


def drop(path: str) -> Change:
    """Delete a ``/``-separated path of the file."""

    def change(data: dict[str, Any]) -> None:
        *parents, last = path.split("/")
        for parent in parents:
            data = data[parent]
        del data[last]

    return change
