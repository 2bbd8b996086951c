"""The rate at equal quality: what moves along one RD curve changes nothing, what is better wins."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hpcm.schema import ConfigError
from tests.tuning.lr_space import lr_space
from tuning.ledger.reference_curve import DELTA_RATE, RatePoint, ReferenceCurve
from tuning.results.answer import answer_lines
from tuning.search.search import REFERENCE
from tuning.simulation.simulate import simulate
from tuning.spaces.sections import Confirm, Objective, Reference
from tuning.spaces.space import SearchSpace

BETTER = 1e-3  # learning rates above save 2 % of the rate
SCHEDULERS = ("promote", "asha", "hyperband", "fifo")


class OneCurve:
    """Every config lies on one RD curve that improves with the epochs, at a point of its own."""

    def __init__(self, gain: float = 0.0, broken: float | None = None) -> None:
        self.gain, self.broken = gain, broken

    def report(self, params: Mapping[str, Any], seed: int, epoch: int) -> dict[str, float]:
        lmbda, rate = params.get("loss.lmbda", 0.013), params["optimizer.lr"]
        reference = "loss.lmbda" in params
        place = math.log2(lmbda / 0.013) + (0.0 if reference else math.sin(1e4 * rate) / 2)
        bits, quality = 0.5 * 2**place * (1 + 1 / epoch), 30 + 3 * place - 2 / epoch
        if not reference and rate > BETTER:
            bits *= 1 - self.gain
        if self.broken == lmbda and epoch > 1:
            bits = math.nan
        return {"val_bpp": bits, "val_psnr": quality, "val_rd_cost": 1.0}

    def seconds(self, params: Mapping[str, Any], epoch: int) -> float:
        return 1.0


def space_of(folder: Path, scheduler: str = "promote", **objective: Any) -> SearchSpace:
    space = lr_space(folder, scheduler={"name": scheduler}, searcher={"name": "random", "seed": 0})
    found = replace(space, objective=Objective(metric=DELTA_RATE, **objective))
    return replace(found, budget=replace(found.budget, trials=16))


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_what_moves_along_one_curve_changes_nothing(tmp_path: Path, scheduler: str) -> None:
    result = simulate(space_of(tmp_path, scheduler), OneCurve(), slots=3, seed=1)
    scores = [value for t in result.trials for value in t.curve(DELTA_RATE).values()]
    assert len(scores) >= 16
    assert max(map(abs, scores)) < 0.1
    assert len({round(t.last["val_bpp"], 3) for t in result.trials}) > 8  # they did move
    assert result.complete


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_what_is_two_percent_better_is_the_best(tmp_path: Path, scheduler: str) -> None:
    result = simulate(space_of(tmp_path, scheduler), OneCurve(gain=0.02), slots=3, seed=1)
    assert result.best is not None
    assert result.best.params["optimizer.lr"] > BETTER
    assert result.best.last[DELTA_RATE] == pytest.approx(-2.0, abs=0.1)


def test_references_come_first_and_are_no_trials_of_the_budget(tmp_path: Path) -> None:
    result = simulate(space_of(tmp_path), OneCurve(), slots=3, seed=1)
    assert [run.number for run in result.references] == [1, 2, 3]
    assert [run.lmbda for run in result.references] == [0.0065, 0.013, 0.026]
    assert {run.source for run in result.references} == {REFERENCE}
    assert all(run.state == "finished" for run in result.references)
    assert len(result.trials) == 16
    assert result.trials[0].is_prior


def test_a_failed_reference_leaves_no_score_and_the_prior(tmp_path: Path) -> None:
    result = simulate(space_of(tmp_path), OneCurve(broken=0.026), slots=3, seed=1)
    assert [run.state for run in result.references] == ["finished", "finished", "failed"]
    assert all(max(t.curve(DELTA_RATE), default=1) == 1 for t in result.trials)
    assert result.best is not None
    assert result.best.is_prior


def test_confirmation_compares_with_the_baseline(tmp_path: Path) -> None:
    space = replace(space_of(tmp_path), confirm=Confirm(top=2, seeds=(5, 6)))
    result = simulate(space, OneCurve(gain=0.02), slots=3, seed=1)
    assert result.confirmation is not None
    roles = [one.trial.role for one in result.confirmation.finalists]
    assert roles == ["search", "reference", "search", "search"]
    assert any("against the baseline: -2.00 %" in line for line in answer_lines(result))


def test_a_simulation_repeats_itself(tmp_path: Path) -> None:
    one, other = (simulate(space_of(tmp_path), OneCurve(0.02), slots=4, seed=3) for _ in "ab")
    assert [(t.params, t.reports) for t in one.trials] == [
        (t.params, t.reports) for t in other.trials
    ]


def points(*pairs: tuple[float, float]) -> ReferenceCurve:
    return ReferenceCurve.through([RatePoint(i + 1.0, *pair) for i, pair in enumerate(pairs)])


def test_the_curve_is_log_linear_and_ends() -> None:
    curve = points((0.25, 28.0), (0.5, 29.0), (1.0, 30.0))
    assert curve.rate(28.5) == pytest.approx(0.25 * 2**0.5)
    assert curve.delta_rate(0.5, 29.0) == pytest.approx(0.0)
    assert curve.delta_rate(0.49, 29.0) == pytest.approx(-2.0)
    assert curve.range() == (27.0, 31.0)
    assert curve.delta_rate(1.0, 31.1) is None


@pytest.mark.parametrize(
    ("pairs", "reason"),
    [
        (((0.5, 28.0), (0.4, 29.0), (1.0, 30.0)), "the rate does not rise from lmbda 1"),
        (((0.3, 28.0), (0.4, 27.9), (1.0, 30.0)), "the quality does not rise from lmbda 1"),
        (((0.3, 28.0), (0.4, 28.05), (0.5, 28.1)), "the qualities span 0.100 dB; 0.2 are needed"),
        (((0.3, 28.0), (0.4, 29.0)), "2 reference runs; three or more make a curve"),
    ],
)
def test_points_that_make_no_curve(pairs: tuple[tuple[float, float], ...], reason: str) -> None:
    assert reason in str(points(*pairs).reason)


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ({"reference": {"lmbdas": [0.01, 0.02]}}, "three or more different numbers above 0"),
        ({"reference": {"lmbdas": [0.01, 0.02, -1]}}, "three or more different numbers above 0"),
        ({"reference": {"lmbdas": [0.01, 0.02, 0.03]}}, "without the trials' own, 0.013"),
        ({"reference": {"config": {"optimizer": {"name": "adamm"}}}}, "adamm"),
        ({"weights": "ema"}, "ema.decay of base is null"),
        ({"metric": "val_bpp", "reference": {"lmbdas": [1, 2, 3]}}, "leave it out"),
        ({"pareto": ["val_bpp", "val_psnr"]}, "not with delta_rate"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    tmp_path: Path, objective: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        lr_space(tmp_path, objective={"metric": DELTA_RATE, **objective})


def test_a_population_cannot_be_compared(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="under pbt a config changes while it trains"):
        lr_space(tmp_path, objective={"metric": DELTA_RATE}, scheduler={"name": "pbt"})


def test_the_reference_is_the_baseline_and_not_the_base(tmp_path: Path) -> None:
    space = space_of(tmp_path, reference=Reference(config={"balancer": {"name": "famo"}}))
    space = replace(space, base=space.base | {"regularizers": {"inter_scale": {"delta": 0.1}}})
    config = space.reference_config(0.026)
    assert (config.loss.lmbda, config.balancer.name) == (0.026, "famo")
    assert config.regularizers.inter_scale.delta == 0
    assert config.epochs == space.fidelity.max
