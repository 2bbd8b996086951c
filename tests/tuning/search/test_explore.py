"""How a copy's values change: within the space, on its scales, and where a model says so."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tuning.lr_space import METRIC, lr_space, open_ledger, report
from tuning.ledger.events import Exploited, Proposed, Report
from tuning.ledger.records import TrialRecord
from tuning.schedulers.bandit import Bandit, choose
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


def space_of(folder: Path, name: str = "pbt") -> SearchSpace:
    fidelity = {"min": 3, "max": 12}
    return lr_space(folder, scheduler={"name": name}, parameters=PARAMETERS, fidelity=fidelity)


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


def test_the_bandit_finds_the_peak_of_what_was_gained() -> None:
    """Gain 1 - 4 (x - 0.7)^2, whatever the epoch and the score."""
    rng = np.random.default_rng(0)
    values = rng.random((60, 2))
    rows = [[float(i // 6), 5.0 - i / 20, *x] for i, x in enumerate(values)]
    gains = [1 - 4 * (x - 0.7) ** 2 + 0.01 * rng.normal() for x, _ in values]
    found = [choose(rows, gains, [10.0, 2.0], [], 2, seed) for seed in range(5)]
    assert np.mean([abs(x - 0.7) for x, _ in found]) < 0.15
    assert (choose(rows, gains, [10.0, 2.0], [], 2, 3) == found[3]).all()


def test_copies_of_one_epoch_try_different_values() -> None:
    """What was given to one counts as known for the next: the deviation there is small."""
    rng = np.random.default_rng(0)
    rows = [[0.0, 5.0, x] for x in rng.random(8)]
    gains = [1 - 4 * (x - 0.7) ** 2 for _, _, x in rows]
    tried: list[list[float]] = []
    for seed in range(4):
        tried.append([float(choose(rows, gains, [3.0, 4.0], tried, 1, seed)[0])])
    gaps = np.diff(sorted(x for (x,) in tried))
    alone = [float(choose(rows, gains, [3.0, 4.0], [], 1, seed)[0]) for seed in range(4)]
    assert gaps.max() > 5 * np.diff(sorted(alone)).max()


def test_the_bandit_reads_gains_from_the_ledger(tmp_path: Path) -> None:
    """An interval belongs to the values it was trained with, and begins at the donor's score."""
    space = space_of(tmp_path, "pb2")
    ledger = open_ledger(tmp_path)
    prior = space.prior()
    for number, curve in ((0, {3: 8.0, 6: 7.0, 9: 6.5}), (1, {3: 9.0, 6: 5.0, 9: 4.5})):
        ledger.append(Proposed(number, params=prior))
        for epoch, value in curve.items():
            if (number, epoch) == (1, 6):
                changed = prior | {"optimizer.lr": 1e-3}
                ledger.append(Exploited(1, epoch=3, donor=0, params=changed))
            ledger.append(Report(number, metrics=report(epoch, value)))
    bandit = Bandit(space, ledger)
    mutable = bandit._mutable(ledger.trials[1])
    assert [c.path for c in mutable] == ["optimizer.lr", "clip_max_norm", "balancer.gamma"]
    rows, gains = bandit._gains(mutable, 9)
    start, before, rate = zip(*(row[:3] for row in rows), strict=True)
    assert (start, before) == ((3, 3, 6, 6), (8.0, 8.0, 7.0, 5.0))
    assert [round(x, 9) for x in rate] == [0.5, 1.0, 0.5, 1.0]
    assert gains == pytest.approx([1 / 3, 1.0, 0.5 / 3, 0.5 / 3])
    assert len(bandit._gains(mutable, 6)[0]) == 2
    assert bandit._gains(mutable, 3) == ([], [])
    assert bandit._given(mutable, 3) == [pytest.approx([1.0, 0.25, 0.5])]
    new = bandit.explored(ledger.trials[0], 9, random.Random(0))
    assert space.active(new) == new
    assert new["balancer.w_lr"] == prior["balancer.w_lr"]
    assert new != prior
    assert math.isfinite(ledger.trials[1].curve(METRIC)[9])
    ledger.append(Report(0, metrics=report(1, 9.9)))  # it lost its checkpoints, and its reports
    assert bandit._gains(mutable, 9)[1] == pytest.approx([0.5 / 3])
    ledger.close()
