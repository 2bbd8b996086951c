"""How a copy's values change: within the space and on its scales."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from tests.tuning.lr_space import lr_space
from tuning.ledger.records import TrialRecord
from tuning.search.explore import Perturbation
from tuning.spaces.space import SearchSpace

LR = {"type": "float", "low": 1e-5, "high": 1e-3, "log": True, "prior": 1e-4, "mutable": True}
FAMO = {"balancer.name": "famo"}
PARAMETERS: dict[str, Any] = {
    "optimizer.lr": LR,
    "clip_max_norm": {"type": "float", "low": 0.5, "high": 2.5, "prior": 1.0, "mutable": True},
    "optimizer.weight_decay": {
        "type": "float",
        "low": 1e-6,
        "high": 1e-2,
        "log": True,
        "zero": 0.5,
        "prior": 0.0,
        "mutable": True,
    },
    "balancer.name": {"type": "categorical", "choices": ["sum", "famo"], "prior": "famo"},
    "balancer.gamma": {**LR, "prior": 1e-4, "when": FAMO},
    "balancer.w_lr": {**LR, "mutable": False, "when": FAMO},
}


def space_of(folder: Path) -> SearchSpace:
    fidelity = {"min": 3, "max": 12}
    return lr_space(folder, scheduler={"name": "pbt"}, parameters=PARAMETERS, fidelity=fidelity)


def record_of(params: dict[str, Any], number: int = 1) -> TrialRecord:
    return TrialRecord(id=f"rates-x-{number:04d}", number=number, params=params)


def test_one_step_up_or_down_or_a_fresh_draw(tmp_path: Path) -> None:
    space = space_of(tmp_path)
    donor = record_of(space.prior() | {"optimizer.weight_decay.zero": 0.2})
    found = [
        Perturbation(space, 0.2, 0.0).explored(donor, 3, random.Random(seed)) for seed in range(40)
    ]
    rates = {round(flat["optimizer.lr"], 12) for flat in found}
    assert rates == {0.8e-4, 1.2e-4}
    assert {round(flat["clip_max_norm"], 12) for flat in found} == {0.6, 1.4}  # a fifth of 2
    for flat in found:
        assert flat["balancer.w_lr"] == 1e-4  # not mutable
        assert flat["balancer.name"] == "famo"
        assert flat["optimizer.weight_decay.zero"] == 0.2  # 0 stays 0 ..
        assert "optimizer.weight_decay" not in flat  # .. and has no value to change
    drawn = Perturbation(space, 0.2, 1.0)
    rates = {drawn.explored(donor, 3, random.Random(s))["optimizer.lr"] for s in range(40)}
    assert len(rates) == 40


def test_values_stay_in_the_space_for_ever(tmp_path: Path) -> None:
    """Ray's explore multiplies without looking at bounds."""
    space = space_of(tmp_path)
    explore, generator = Perturbation(space, 0.5, 0.1), random.Random(1)
    record = record_of(space.prior())
    touched = set()
    for level in range(300):
        record.params = explore.explored(record, level, generator)
        assert space.active(record.params) == record.params
        assert 1e-5 <= record.params["optimizer.lr"] <= 1e-3
        assert 0.5 <= record.params["clip_max_norm"] <= 2.5
        touched |= {record.params["optimizer.lr"], record.params["clip_max_norm"]}
        space.config(record.params)
    assert {1e-5, 1e-3, 0.5, 2.5} <= touched


def test_a_whole_number_moves_by_one_at_least(tmp_path: Path) -> None:
    from tuning.spaces.coordinates import Coordinate

    explore = Perturbation(space_of(tmp_path), 0.2, 0.0)
    small = Coordinate(path="n", type="int", prior=2, low=1, high=6, log=True)
    assert [explore._moved(small, value, sign) for value in (1, 2, 6) for sign in (-1, 1)] == [
        1,
        2,
        1,
        3,
        5,
        6,
    ]
