"""Every schedule against values in a table, and the gamma schedules against the published code."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hpcm.optimizers import Famo, FamoPerScale
from hpcm.optimizers.gamma_memory import GammaMemory, window_epochs
from hpcm.optimizers.gamma_schedules import (
    AdaptiveGamma,
    CosineGamma,
    FixedGamma,
    HierarchicalGamma,
    HpcmGamma,
    LinearGamma,
    ScaleAdaptiveGamma,
    ScaleCosineGamma,
    ScaleLinearGamma,
    StepGamma,
)
from hpcm.schedules import Clock, LrSchedule
from tests.numerics.toy_tasks import build

GOLDEN = json.loads(
    (Path(__file__).parents[1] / "golden/balanced_gamma_schedules.json").read_text()
)
SINGLE = [case for case in GOLDEN["cases"] if case["phase"] == 2]
PER_SCALE = [case for case in GOLDEN["cases"] if case["phase"] == 3]
SCALES = ("s1", "s2", "s3")


@pytest.mark.parametrize(
    ("schedule", "points"),
    [
        (
            LrSchedule(),
            {
                0: 1,
                0.5: 1,
                0.9166: 1,
                2750 / 3000: 0.3,
                2850 / 3000: 0.1,
                2950 / 3000: 0.01,
                1: 0.01,
            },
        ),
        (LrSchedule(warmup=0.1), {0: 0.1, 0.05: 0.55, 0.1: 1, 0.5: 1, 1: 0.01, 2: 0.01}),
        (LrSchedule(name="constant"), {0: 1, 0.5: 1, 1: 1, 2: 1}),
        (LrSchedule(name="linear"), {0: 1, 0.5: 0.505, 1: 0.01, 2: 0.01}),
        (
            LrSchedule(name="linear", warmup=0.2, final=0.0),
            {0: 0.1, 0.1: 0.55, 0.2: 1, 0.6: 0.5, 1: 0, 2: 0},
        ),
        (LrSchedule(name="cosine", final=0.2), {0: 1, 0.5: 0.6, 1: 0.2, 2: 0.2}),
        (
            LrSchedule(name="cosine", warmup=0.5, final=0.0),
            {0.5: 1, 0.75: 0.5, 1: 0, 2: 0},
        ),
    ],
    ids=repr,
)
def test_learning_rate_factor(schedule: LrSchedule, points: dict[float, float]) -> None:
    for t, expected in points.items():
        assert schedule.factor(t) == pytest.approx(expected, abs=1e-12), t


@pytest.mark.parametrize(
    ("schedule", "points"),
    [
        (FixedGamma(), {0: (1,), 1: (1,)}),
        (
            LinearGamma(final=0.2, warmup=0.5),
            {0: (1,), 0.5: (1,), 0.75: (0.6,), 1: (0.2,), 2: (0.2,)},
        ),
        (CosineGamma(final=0.2, warmup=0.5), {0.5: (1,), 0.75: (0.6,), 1: (0.2,), 2: (0.2,)}),
        (StepGamma(final=0.2), {0: (1,), 0.34: (0.5,), 0.67: (0.25,), 0.84: (0.2,), 2: (0.2,)}),
        (HpcmGamma(), {0: (1,), 1 / 6: (0.5,), 0.5: (0.25,), 11 / 12: (0.125,), 2: (0.125,)}),
        (ScaleLinearGamma(final=0.5), {0: (1,), 0.5: (0.75,), 1: (0.5,), 2: (0.5,)}),
        (ScaleCosineGamma(final=0.5), {0: (1,), 0.5: (0.75,), 1: (0.5,), 2: (0.5,)}),
        (
            HierarchicalGamma(),
            {
                0: (1, 0.8, 0.6),
                0.05: (1.1, 0.8, 0.6),
                0.1: (1.2, 0.8, 0.6),
                0.5: (0.9, 1.1, 1),
                5 / 6: (0.7, 0.8, 1.1),
                1: (0.5, 0.5, 1.3),
                2: (0.5, 0.5, 1.3),
            },
        ),
    ],
    ids=lambda value: value.name if hasattr(value, "name") else "",
)
@pytest.mark.parametrize("horizon", [60, 3000])
def test_gamma_ratio_follows_the_horizon(
    schedule: Any, points: dict[float, tuple[float, ...]], horizon: int
) -> None:
    for t, expected in points.items():
        if horizon == 60 and abs(t * horizon - round(t * horizon)) > 1e-9:
            continue  # between two epochs of a short run
        clock = Clock.at(t, round(t * horizon))
        assert schedule.factors(clock, GammaMemory(1)) == pytest.approx(expected, abs=1e-12), t


def single_schedule(case: dict[str, Any]) -> Any:
    if case["strategy"] == "hpcm":
        return HpcmGamma()
    final = case["final_gamma"] / case["initial_gamma"]
    kind = {
        "linear": LinearGamma,
        "cosine": CosineGamma,
        "step": StepGamma,
        "adaptive": AdaptiveGamma,
    }[case["strategy"]]
    return kind(final=final)


def loss_of(formula: str, epoch: int) -> float:
    swing = {"1.0": 0.0, "1.0+0.2*(-1)**e": 0.2, "1.0+0.03*(-1)**e": 0.03}[formula]
    return 1.0 + swing * (-1) ** epoch


@pytest.mark.parametrize("case", SINGLE, ids=lambda c: f"{c['strategy']}-{c['total_epochs']}")
def test_single_gamma_as_published(case: dict[str, Any]) -> None:
    schedule, memory = single_schedule(case), GammaMemory(1)
    expected = dict(zip(case["epochs"], case["gamma"], strict=True))
    for epoch in range(max(expected) + 1):
        if case["strategy"] == "adaptive":
            memory.observe([loss_of(case["loss_of_epoch"], epoch)])
        clock = Clock(epoch, case["total_epochs"], published=True)
        (ratio,) = memory.ratios(schedule, clock)
        if epoch in expected:
            gamma = case.get("initial_gamma", 0.006) * ratio
            assert gamma == pytest.approx(expected[epoch], rel=GOLDEN["tolerance_rel"]), epoch


@pytest.mark.parametrize(
    "case", PER_SCALE, ids=lambda c: f"{c['strategy']}-{c.get('total_epochs')}"
)
def test_gamma_per_scale_as_published(case: dict[str, Any]) -> None:
    schedule = {
        "fixed": FixedGamma,
        "linear": ScaleLinearGamma,
        "cosine": ScaleCosineGamma,
        "adaptive": ScaleAdaptiveGamma,
        "hierarchical": HierarchicalGamma,
    }[case["strategy"]]()
    memory = GammaMemory(3)
    expected = dict(zip(case["epochs"], case["gamma"], strict=True))
    for epoch in range(max(expected) + 1):
        if case["strategy"] == "adaptive":
            formulas = case["scale_losses_of_epoch"]
            memory.observe([loss_of(formulas[scale], epoch) for scale in SCALES])
        clock = Clock(epoch, case.get("total_epochs", 3000), published=True)
        ratios = memory.ratios(schedule, clock)
        for scale, ratio in zip(SCALES, ratios, strict=True):
            if epoch in expected:
                gamma = case["initial"][scale] * ratio
                assert gamma == pytest.approx(expected[epoch][scale], rel=GOLDEN["tolerance_rel"])


@pytest.mark.parametrize("schedule", [LinearGamma(), CosineGamma(), AdaptiveGamma()])
def test_a_published_run_no_longer_than_the_warm_up_keeps_its_gamma(schedule: Any) -> None:
    """Warm-ups are 100 epochs there, whatever the horizon is: `e < warm-up` gives gamma itself."""
    for epoch in (0, 1, 30, 59):
        assert GammaMemory(1).ratios(schedule, Clock(epoch, 60, published=True)) == (1.0,)
    (ended,) = GammaMemory(1).ratios(schedule, Clock(100, 60, published=True))
    assert ended == pytest.approx(0.2)
    assert GammaMemory(1).ratios(schedule, Clock.at(0.5, 30, published=False))[0] < 1


def test_published_hierarchical_ignores_the_horizon_and_goes_negative() -> None:
    ablation = Clock(1000, horizon=1000, published=True)
    full = Clock(1000, horizon=3000, published=True)
    schedule, memory = HierarchicalGamma(), GammaMemory(3)
    assert schedule.factors(ablation, memory) == schedule.factors(full, memory)
    assert schedule.factors(Clock(3834, 3000, published=True), memory)[1] < 0
    assert schedule.factors(Clock(4251, 3000, published=True), memory)[0] < 0


def test_sound_adaptive_window_shrinks_with_the_horizon() -> None:
    """At a horizon of 300 epochs the window is 5: a flat loss acts after 6 epochs, not 51."""
    memory, schedule = GammaMemory(3), ScaleAdaptiveGamma()
    for epoch in range(7):
        ratios = memory.ratios(schedule, Clock(epoch, 300))
        assert ratios == ((1.0,) * 3 if epoch < 6 else (0.95,) * 3)
        memory.observe([1.0, 1.0, 1.0])


def test_variation_is_of_a_sample_per_scale_and_of_a_population_for_one_gamma() -> None:
    """As in the two published codes; at 1 - a, 1, 1 + a it is a, and a sqrt(2 / 3)."""
    clock = Clock(30, 60)  # the window is as short as it may be
    assert window_epochs(50 / 3000, clock) == 3
    single, per_scale = AdaptiveGamma(final=1.0, up=1.2), ScaleAdaptiveGamma()
    for a, of_sample, of_population in ((0.045, 1, 1), (0.055, 1.02, 1), (0.065, 1.02, 1.2)):
        losses = [1 - a, 1.0, 1 + a]
        assert per_scale.next_ratio(1.0, clock, losses) == of_sample
        assert single.factor(clock, losses) == of_population


@pytest.mark.parametrize(
    "config",
    [
        Famo(published=True, gamma_schedule=HpcmGamma()),
        FamoPerScale(published=True, tasks="published5"),
    ],
    ids=lambda config: config.name,
)
def test_a_published_balancer_has_the_published_clock(config: Any) -> None:
    """Which counts epochs of 3000: one of a 6000-epoch run is twice as late to it."""
    found = []
    for published in (True, False):
        balancer = build(replace(config, published=published))
        balancer.apply(balancer.config, 0.25, 1500)
        ratios = config.gamma_schedule.factors(Clock(1500, 6000, published), GammaMemory(3))
        configured = balancer.configured_gammas(config)
        expected = [gamma * ratios[i % len(ratios)] for i, gamma in enumerate(configured)]
        assert balancer.gammas_in_use == pytest.approx(expected, rel=1e-12)
        found.append(expected)
    assert found[0] != found[1]
