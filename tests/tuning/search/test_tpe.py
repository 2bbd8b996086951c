"""Our TPE proposes what Optuna's `TPESampler` proposes on the same trials; densities sum to one."""

from __future__ import annotations

import itertools
import random
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import TPESampler

from tuning import load_space
from tuning.ledger.records import TrialRecord
from tuning.search.optuna_encoder import OptunaEncoder, frozen_trials, study_of
from tuning.search.parzen import Mixture
from tuning.search.samplers import suggest
from tuning.search.tpe import Evidence, TpeSampler
from tuning.spaces.draws import draw
from tuning.spaces.space import SearchSpace

STARTUP = 5


def optunas(seed: int) -> TPESampler:
    """The sampler that ours stands for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return TPESampler(
            seed=seed, n_startup_trials=STARTUP, multivariate=True, group=True, constant_liar=True
        )


def records_of(space: SearchSpace, count: int, generator: random.Random) -> list[TrialRecord]:
    """Trials in all states, with curves of all lengths, some not within the constraints."""
    metrics = space.objective.pareto or (space.objective.score,)
    found = []
    for number in range(count):
        state = generator.choice(["finished", "stopped", "stopped", "running", "failed"])
        epochs = 9 if state == "finished" else generator.choice([0, 1, 3])
        reports: list[dict[str, Any]] = []
        for epoch in range(1, epochs + 1):
            values = {metric: generator.uniform(0.1, 1.0) for metric in metrics}
            reports.append({"epoch": epoch, "val_bpp": generator.uniform(0, 1)} | values)
        record = TrialRecord(f"x-{number}", number, draw(space, generator), "tpe", state=state)  # type: ignore[arg-type]
        record.reports = reports
        record.diverged = state == "failed" and generator.random() < 0.5
        found.append(record)
    return found


SPACES = {
    "phase1": [],
    "phase3": [],
    "joint": [],
    "a larger value is better": ["objective.metric=val_psnr", "objective.mode=max"],
    "constraints": ["objective.constraints.val_bpp.max=0.5"],
    "several values": ["objective.pareto=[val_bpp, val_psnr]"],
}
PLAIN = ["objective.metric=val_rd_cost", "objective.weights=raw", "confirm.top=0"]


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("count", [3, 12, 120])
def test_it_proposes_what_optuna_proposes(name: str, count: int) -> None:
    """Conditional parameters, integers, choices, running and failed trials among them."""
    file = name if name in ("phase1", "phase3", "joint") else "phase3"
    space = load_space(file, "cluster", [*PLAIN, *SPACES[name]])
    encoder = OptunaEncoder(space)
    records = records_of(space, count, random.Random(count))
    for seed in range(2):
        theirs = study_of(frozen_trials(encoder, records), optunas(seed), encoder.directions)
        evidence = Evidence(
            frozen_trials(encoder, records), encoder.distributions, encoder.directions
        )
        ours = study_of([], TpeSampler(evidence, STARTUP, seed), encoder.directions)
        wanted = space.walk(partial(suggest, theirs.ask()))
        found = space.walk(partial(suggest, ours.ask()))
        assert found.keys() == wanted.keys()
        for path, value in wanted.items():
            if isinstance(value, float):
                assert found[path] == pytest.approx(value, rel=1e-9), path
            else:
                assert found[path] == value, path


GROUP: dict[str, BaseDistribution] = {
    "x": FloatDistribution(-2.0, 3.0),
    "n": IntDistribution(1, 6),
    "m": IntDistribution(1, 9, log=True),
    "c": CategoricalDistribution(["a", "b", "c"]),
}


@pytest.mark.parametrize("trials", [0, 1, 2, 30])
def test_a_density_sums_to_one(trials: int) -> None:
    """Over all integers and choices, and over a fine grid of the float."""
    generator = np.random.RandomState(trials)
    seen = {
        "x": generator.uniform(-2, 3, trials),
        "n": generator.randint(1, 7, trials).astype(float),
        "m": generator.randint(1, 10, trials).astype(float),
        "c": generator.randint(0, 3, trials).astype(float),
    }
    mixture = Mixture(GROUP, seen, np.ones(trials))  # type: ignore[arg-type]
    edges = np.linspace(-2, 3, 401)
    axes = [(edges[:-1] + edges[1:]) / 2, range(1, 7), range(1, 10), range(3)]
    points = np.array(list(itertools.product(*axes)), dtype=float)
    density = mixture.log_density(dict(zip(GROUP, points.T, strict=True)))
    assert np.exp(density).sum() * (edges[1] - edges[0]) == pytest.approx(1, abs=1e-4)


def test_draws_stay_within_the_bounds(tmp_path: Path) -> None:
    """Even if every trial lies on one of them."""
    group: dict[str, Any] = GROUP | {"l": FloatDistribution(1e-6, 1e-2, log=True)}
    at_end = {"x": 3.0, "n": 6.0, "m": 9.0, "c": 2.0, "l": 1e-2}
    seen = {path: np.full(20, value) for path, value in at_end.items()}
    drawn = Mixture(group, seen, np.ones(20)).sample(np.random.RandomState(0), 500)
    for path in ("x", "n", "m", "l"):
        assert drawn[path].min() >= group[path].low
        assert drawn[path].max() <= group[path].high
    assert set(drawn["c"]) <= {0.0, 1.0, 2.0}
    assert set(drawn["n"]) <= set(range(1, 7))


def test_nothing_warns(recwarn: pytest.WarningsRecorder) -> None:
    """No division by zero, with one trial or with equal ones."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    for trials in (0, 1, 5):
        seen = {path: np.full(trials, 1.0) for path in GROUP}
        mixture = Mixture(GROUP, seen, np.ones(trials))  # type: ignore[arg-type]
        assert np.isfinite(mixture.log_density(mixture.sample(np.random.RandomState(0), 9))).all()
    assert not recwarn.list
