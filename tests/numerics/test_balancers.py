"""Balancers against their twin, the published trajectories, and what every one of them owes."""

from __future__ import annotations

import json
import math
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchjd.scalarization import FAMO

from hpcm.optimizers import BALANCERS, CautiousAdam, Famo, FamoPerScale
from hpcm.optimizers.balancer import Balancer
from hpcm.optimizers.famo import FamoBalancer
from hpcm.optimizers.gamma_schedules import FixedGamma
from tests.reference.famo import FamoTwin

GOLDEN = Path(__file__).parents[1] / "golden"
TASKS = {
    "two_task": (("distortion", "rate"), (None, None)),
    "rate4": (("distortion", "rate_s1", "rate_s2", "rate_s3"), (None, 1, 2, 3)),
    "exact5": (("low", "rate_s1", "rest", "rate_s2", "rate_s3"), (1, 1, 2, 2, 3)),
}
TASKS["published5"] = TASKS["exact5"]


def golden(name: str) -> dict[str, Any]:
    return json.loads((GOLDEN / f"balanced_{name}.json").read_text())


def build(config: Any) -> Balancer:
    names, scales = TASKS[getattr(config, "tasks", "two_task")]
    return config.build(names, scales, "cpu")


def tensor(values: Any) -> Tensor:
    return torch.tensor([float(v) for v in values], dtype=torch.float64)


def assert_close(actual: Any, expected: Any, tolerance: float) -> None:
    """Within ``tolerance``; a golden 'nan' wants a NaN."""
    expected = np.asarray(expected, dtype=np.float64)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)


# Published numbers


def test_published_famo_weights() -> None:
    data = golden("famo_weights")
    for case in data["cases"]:
        tasks = "two_task" if case["n_tasks"] == 2 else "exact5"
        balancer = build(Famo(tasks=tasks, gamma=case["gamma"], w_lr=case["w_lr"]))
        balancer.floor = tensor(case["min_losses"])
        for before, after, expected in zip(
            case["pre"], case["post"], case["expected"], strict=True
        ):
            losses = tensor(before).requires_grad_()
            value = balancer.backward(losses, [losses])
            assert_close(value, expected["loss"], data["tolerance_abs"])
            assert_close(losses.grad, expected["grad_coeff"], data["tolerance_abs"])
            balancer.update(losses, tensor(after))
            assert_close(balancer.logits.w, expected["w"], data["tolerance_abs"])
            assert_close(balancer.logits.shares(), expected["z"], data["tolerance_abs"])


def two_losses(p: Tensor, case: dict[str, Any]) -> Tensor:
    distortion = case["K"] * (tensor(case["v"]) * torch.exp(-2 * p)).mean()
    return torch.stack([distortion, F.softplus(p).mean() / math.log(2)])


def five_losses(p: Tensor, case: dict[str, Any]) -> Tensor:
    if case["tasks_kind"] == "shares":
        distortion, rate = two_losses(p, case)
        return torch.stack(
            [0.40 * distortion, 0.30 * rate, 0.35 * distortion, 0.40 * rate, 0.30 * rate]
        )
    n, h = len(p), len(p) // 3
    distortion = case["K"] * tensor(case["v"]) * torch.exp(-2 * p) / n
    rate = F.softplus(p) / math.log(2) / n
    return torch.stack(
        [
            distortion[:h].sum(),
            rate[:h].sum(),
            distortion[h:].sum(),
            rate[h : 2 * h].sum(),
            rate[2 * h :].sum(),
        ]
    )


@pytest.mark.parametrize("case", golden("balanced_2task")["cases"], ids=["floor-1", "floor0"])
def test_published_trajectory_of_two_tasks(case: dict[str, Any]) -> None:
    tolerance = golden("balanced_2task")["tolerance_abs"]
    balancer = build(Famo(gamma=case["gamma"], w_lr=case["w_lr"]))
    balancer.floor = tensor(case["min_losses"])
    p = tensor(case["p0"]).requires_grad_()
    optimizer = CautiousAdam(lr=case["lr"]).build([p])
    for expected in case["expected"]:
        optimizer.zero_grad()
        before = two_losses(p, case)
        assert_close(before.detach(), expected["pre"], tolerance)
        assert_close(balancer.backward(before, [p]), expected["weighted"], tolerance)
        torch.nn.utils.clip_grad_norm_([p], case["max_norm"])
        assert_close(p.grad.norm(), expected["clipped_grad_norm"], tolerance)
        optimizer.step()
        with torch.no_grad():
            balancer.update(before, two_losses(p, case))
        assert_close(p.detach(), expected["p"], tolerance)
        assert_close(balancer.logits.w, expected["w"], tolerance)


@pytest.mark.parametrize(
    "case",
    golden("hierarchical_5task")["cases"],
    ids=lambda c: f"{c['tasks_kind']}, {c['min_losses']}, {c['weight_update'][:9]}",
)
def test_published_trajectory_of_five_tasks(case: dict[str, Any]) -> None:
    """The published form: NaN where a loss falls below its first-batch floor."""
    tolerance = golden("hierarchical_5task")["tolerance_abs"]
    gamma_s1, gamma_s2, gamma_s3 = case["gammas"]
    config = FamoPerScale(
        tasks="published5",
        gamma_s1=gamma_s1,
        gamma_s2=gamma_s2,
        gamma_s3=gamma_s3,
        gamma_schedule=FixedGamma(),
        scale_weights=tuple(case["scale_weights"]),
        w_lr=case["w_lr"],
        published=True,
    )
    balancer = build(config)
    assert balancer.noise == "none"
    if case["min_losses"] == "all -1":
        balancer.floor = -torch.ones(5, dtype=torch.float64)
    p = tensor(case["p0"]).requires_grad_()
    optimizer = CautiousAdam(lr=case["lr"]).build([p])
    for expected in case["expected"]:
        optimizer.zero_grad()
        before = five_losses(p, case)
        assert_close(before.detach(), expected["tasks"], tolerance)
        assert_close(balancer.backward(before, [p]), expected["weighted"], tolerance)
        torch.nn.utils.clip_grad_norm_([p], case["max_norm"])
        optimizer.step()
        after = five_losses(p, case) if case["weight_update"].startswith("post") else before
        balancer.update(before, after.detach())
        assert_close(p.detach(), expected["p"], tolerance)
        assert_close(balancer.logits.w, expected["w"], tolerance)
    if case["min_losses"] != "all -1":
        assert not balancer.logits.w.isfinite().any()


# The twin, and another implementation


@pytest.mark.parametrize("decay", ["l2", "decoupled"])
@pytest.mark.parametrize("min_weight", [0.0, 0.1])
@pytest.mark.parametrize(
    ("per_scale", "tasks"),
    [(False, "two_task"), (False, "exact5"), (True, "rate4"), (True, "exact5")],
)
def test_equals_its_twin_over_100_random_updates(
    per_scale: bool, tasks: str, min_weight: float, decay: str
) -> None:
    names, scales = TASKS[tasks]
    knobs = {"tasks": tasks, "min_weight": min_weight, "decay": decay, "offset": 0.5, "w_lr": 0.05}
    shared = {"min_weight": min_weight, "decoupled": decay == "decoupled", "published": False}
    floors = [-0.5] * len(names)
    if per_scale:
        balancer = build(FamoPerScale(gamma_schedule=FixedGamma(), **knobs))
        by_scale = {None: 0.006, 1: 0.008, 2: 0.006, 3: 0.004}
        gammas = [by_scale[scale] for scale in scales]
        twin = FamoTwin(gammas, 0.05, floors, list(scales), [0.3, 0.4, 0.3], **shared)
    else:
        balancer = build(Famo(gamma=0.01, **knobs))
        twin = FamoTwin([0.01] * len(names), 0.05, floors, **shared)
    random = np.random.default_rng(0)
    for _ in range(100):
        before = random.uniform(0.2, 2.0, len(names))
        after = before * random.uniform(0.9, 1.05, len(names))
        losses = tensor(before).requires_grad_()
        value = balancer.backward(losses, [losses])
        q, expected = twin.weigh(list(before))
        assert_close(balancer.weights, q, 1e-12)
        assert_close(losses.grad, q, 1e-12)
        assert float(value) == pytest.approx(expected, abs=1e-12)
        assert float(q.sum()) == pytest.approx(1, abs=1e-12)
        balancer.update(losses, tensor(after))
        twin.update(list(before), list(after))
        assert_close(balancer.logits.w, twin.w, 1e-12)
        assert balancer.logits.shares(min_weight).min() >= min_weight


def test_equals_torchjd() -> None:
    """Another implementation of FAMO, in float32, floors at -1."""
    ours = build(Famo(gamma=3e-3, offset=1.0))
    theirs = FAMO(2, min_losses=-torch.ones(2), lr=0.025, weight_decay=3e-3)
    random = torch.Generator().manual_seed(0)
    for _ in range(200):
        before = torch.rand(2, generator=random) + 0.5
        after = before * (1 - 0.1 * torch.rand(2, generator=random))
        mine, other = before.clone().requires_grad_(), before.clone().requires_grad_()
        value = ours.backward(mine, [mine])
        weighted = theirs(other)
        weighted.backward()
        assert float(value) == pytest.approx(weighted.item(), rel=1e-5)
        torch.testing.assert_close(mine.grad, other.grad, rtol=0, atol=1e-5)
        ours.update(before, after)
        theirs.update(after)
        torch.testing.assert_close(ours.logits.w.float(), theirs._w.detach(), rtol=0, atol=1e-5)


# What every balancer owes


def toy_losses(p: Tensor, n: int) -> Tensor:
    """n losses above 0 that disagree about p."""
    targets = torch.linspace(-1, 1, n, dtype=p.dtype)
    return torch.stack([(p - target).square().mean() + 0.1 for target in targets])


def train(balancer: Balancer, p: Tensor, optimizer: torch.optim.Optimizer, steps: int) -> None:
    n = len(balancer.names)
    for step in range(steps):
        optimizer.zero_grad()
        losses = toy_losses(p, n)
        balancer.backward(losses, [p])
        optimizer.step()
        if balancer.due(step):
            after = losses if balancer.noise == "none" else toy_losses(p, n)
            balancer.update(losses.detach(), after.detach())


@pytest.mark.parametrize("name", BALANCERS)
def test_lets_the_losses_fall(name: str) -> None:
    balancer = build(BALANCERS[name]())
    p = torch.full((4,), 3.0, requires_grad=True)
    optimizer = torch.optim.Adam([p], lr=0.05)
    start = toy_losses(p, len(balancer.names)).detach()
    train(balancer, p, optimizer, 100)
    assert (toy_losses(p, len(balancer.names)) < 0.5 * start).all()
    assert p.dtype == p.grad.dtype == torch.float32


@pytest.mark.parametrize("name", BALANCERS)
def test_penalty_has_weight_one(name: str) -> None:
    balancer = build(BALANCERS[name]())
    n = len(balancer.names)
    gradients = []
    for factor in (0.0, 1.0):
        p = torch.full((4,), 2.0, dtype=torch.float64, requires_grad=True)
        balancer.backward(toy_losses(p, n), [p], factor * p.sum())
        gradients.append(p.grad)
    torch.testing.assert_close(gradients[1] - gradients[0], torch.ones(4).double())


@pytest.mark.parametrize("name", BALANCERS)
def test_weights_are_the_gradients_coefficients(name: str) -> None:
    balancer = build(BALANCERS[name]())
    losses = torch.linspace(0.5, 1.5, len(balancer.names), dtype=torch.float64).requires_grad_()
    balancer.backward(losses, [losses])
    torch.testing.assert_close(losses.grad, balancer.weights)
    log = balancer.log()
    assert [log[f"weights/{task}"] for task in balancer.names] == balancer.weights.tolist()
    assert all(isinstance(value, float) and math.isfinite(value) for value in log.values())
    assert log["balance/lambda_eff_ratio"] > 0


@pytest.mark.parametrize("name", BALANCERS)
def test_state_round_trip_then_equal_steps(name: str) -> None:
    config = BALANCERS[name]()
    balancer = build(config)
    p = torch.full((4,), 3.0, requires_grad=True)
    optimizer = torch.optim.Adam([p], lr=0.05)
    train(balancer, p, optimizer, 10)
    balancer.observe(tensor([1.0, 2.0, 3.0]))

    restored, copy = build(config), p.detach().clone().requires_grad_()
    restored_optimizer = torch.optim.Adam([copy], lr=0.05)
    restored_optimizer.load_state_dict(deepcopy(optimizer.state_dict()))
    restored.load_state_dict(deepcopy(balancer.state_dict()))
    assert restored.log() == balancer.log()
    for epoch in (7, 8):
        for part in (balancer, restored):
            part.apply(config, epoch / 30, epoch)
        train(balancer, p, optimizer, 10)
        train(restored, copy, restored_optimizer, 10)
        assert torch.equal(p, copy)
        assert restored.log() == balancer.log()
        for part in (balancer, restored):
            part.observe(tensor([1.0, 2.0, 3.0]))


@pytest.mark.parametrize("name", BALANCERS)
def test_a_copy_of_the_state_does_not_move(name: str) -> None:
    """What state_dict gave before a step still holds after it: a save may happen later."""
    balancer = build(BALANCERS[name]())
    p = torch.full((4,), 3.0, requires_grad=True)
    optimizer = torch.optim.Adam([p], lr=0.05)
    train(balancer, p, optimizer, 2)
    taken = balancer.state_dict()
    as_bytes = repr(deepcopy(taken))
    train(balancer, p, optimizer, 2)
    assert repr(taken) == as_bytes


def test_config_wins_over_a_restored_state() -> None:
    donor = build(Famo(gamma=0.003, w_lr=0.025))
    p = torch.full((4,), 3.0, requires_grad=True)
    train(donor, p, torch.optim.Adam([p], lr=0.05), 5)
    config = Famo(gamma=0.02, w_lr=0.1, min_weight=0.05)
    restored = build(config)
    restored.load_state_dict(deepcopy(donor.state_dict()))
    restored.apply(config, 0.5, 5)
    twin = FamoTwin([0.02, 0.02], 0.1, [-1.0, -1.0], published=False, min_weight=0.05)
    twin.w, twin.t = donor.logits.w.numpy().copy(), donor.logits.adam.steps
    twin.m, twin.v = donor.logits.adam.exp_avg.numpy().copy(), donor.logits.adam.exp_avg_sq.numpy().copy()
    restored.update(tensor([1.0, 2.0]), tensor([0.9, 1.9]))
    twin.update([1.0, 2.0], [0.9, 1.9])
    assert_close(restored.logits.w, twin.w, 1e-14)


def test_scale_weights_are_hot() -> None:
    balancer = build(FamoPerScale())
    config = replace(FamoPerScale(), scale_weights=(0.5, 0.3, 0.2), gamma_s2=0.03)
    balancer.apply(config, 0.0, 0)
    contributions = [balancer.log()[f"scale_contrib/s{scale}"] for scale in (1, 2, 3)]
    expected = np.array([0.5, 0.3, 0.2])
    assert contributions == pytest.approx(expected / expected.sum(), abs=1e-12)
    assert balancer.log()["gamma/s2"] == pytest.approx(0.03 * 0.8, rel=1e-12)


# Facts about FAMO


def test_no_step_means_no_improvement() -> None:
    balancer = build(Famo())
    losses = torch.tensor([0.3, 1.7])
    for _ in range(5):
        balancer.update(losses, losses.clone())
    assert torch.equal(balancer.logits.w, torch.zeros(2).double())


def test_published_per_scale_never_moves_its_logits() -> None:
    """It compares the losses with themselves: gamma and w_lr have no effect at all."""
    paths = []
    for factor in (1, 100):
        config = FamoPerScale(
            tasks="published5",
            published=True,
            w_lr=0.025 * factor,
            gamma_s1=0.008 * factor,
            gamma_s2=0.006 * factor,
            gamma_s3=0.004 * factor,
        )
        balancer = build(config)
        balancer.floor = -torch.ones(5, dtype=torch.float64)
        p = torch.full((4,), 3.0, requires_grad=True)
        train(balancer, p, torch.optim.Adam([p], lr=0.05), 50)
        assert torch.equal(balancer.logits.w, torch.zeros(5).double())
        paths.append(p)
    assert torch.equal(*paths)


def test_fast_task_loses_weight_and_gamma_pulls_back() -> None:
    """At rest, z (1 - z) * gap = gamma * w: the values of a gap of 0.01 per step."""
    for gamma, expected in ((1e-5, 0.0029), (1e-3, 0.115), (3e-3, 0.233), (1e-2, 0.384)):
        balancer = build(Famo(gamma=gamma))
        before = tensor([1.0, 1.0])
        after = (before + 1) * tensor([math.exp(-0.01), 1.0]) - 1
        for _ in range(3000):
            balancer.update(before, after)
        assert float(balancer.logits.shares()[0]) == pytest.approx(expected, rel=0.03)


def test_floor_on_the_weights_keeps_a_fast_task_alive() -> None:
    balancer = build(Famo(gamma=0.0, min_weight=0.1))
    for _ in range(500):
        balancer.update(tensor([1.0, 1.0]), tensor([0.9, 1.0]))
    assert float(balancer.logits.shares(0.1)[0]) == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("offset", [0.5, 1.0, 10.0])
def test_lambda_eff_at_equal_logits(offset: float) -> None:
    """lambda_eff / lambda = (o + R) / (o + L_D) at z = 1/2."""
    balancer = build(Famo(offset=offset))
    losses = tensor([4.0, 0.8]).requires_grad_()
    balancer.backward(losses, [losses])
    ratio = balancer.log()["balance/lambda_eff_ratio"]
    assert ratio == pytest.approx((offset + 0.8) / (offset + 4.0), rel=1e-6)


def test_rate4_scale_weights_leave_the_distortion_alone() -> None:
    shares = []
    for weights in ((0.3, 0.4, 0.3), (0.6, 0.2, 0.2)):
        log = build(FamoPerScale(tasks="rate4", scale_weights=weights)).log()
        assert [log[f"scale_contrib/s{s}"] for s in (1, 2, 3)] == pytest.approx(
            [0.75 * w for w in weights], abs=1e-12
        )
        shares.append(log["weights/distortion"])
    assert shares == pytest.approx([0.25, 0.25], abs=1e-12)


def test_per_scale_reduces_to_famo() -> None:
    """Equal scale weights and gammas on one task per scale: plain FAMO over four tasks."""
    third = 1 / 3
    plain = build(Famo(tasks="rate4", gamma=0.005))
    scaled = build(
        FamoPerScale(
            tasks="rate4",
            gamma_s1=0.005,
            gamma_s2=0.005,
            gamma_s3=0.005,
            gamma_schedule=FixedGamma(),
            scale_weights=(third, third, third),
        )
    )
    paths = []
    for balancer in (plain, scaled):
        p = torch.full((4,), 3.0, dtype=torch.float64, requires_grad=True)
        train(balancer, p, torch.optim.Adam([p], lr=0.05), 50)
        paths.append(p.detach())
    torch.testing.assert_close(*paths, rtol=0, atol=1e-9)


# Floors


def test_a_loss_below_its_floor_stops_the_sound_form_at_once() -> None:
    balancer = build(Famo())
    losses = tensor([0.5, -1.5]).requires_grad_()
    value = balancer.backward(losses, [losses])
    assert not value.isfinite()
    assert not losses.grad.isfinite().any()
    assert balancer.explain() == "rate: loss -1.5 is at or below its floor -1"


def test_a_broken_second_look_teaches_nothing() -> None:
    balancer = build(Famo())
    balancer.update(tensor([0.5, 0.5]), tensor([0.4, math.nan]))
    assert balancer.logits.w.isfinite().all()


def test_published_first_batch_floors_break_and_say_why() -> None:
    balancer = build(FamoPerScale(tasks="published5", published=True))
    first = tensor([1.0, 1.0, 1.0, 1.0, 1.0]).requires_grad_()
    assert balancer.backward(first, [first]).isfinite()
    balancer.update(first, first)
    second = tensor([0.99, 1.02, 1.0, 1.0, 1.0]).requires_grad_()
    assert balancer.backward(second, [second]).isnan()
    assert "low: loss 0.99 is at or below its floor 1" in balancer.explain()
    balancer.update(second, second)
    third = tensor([1.1, 1.1, 1.1, 1.1, 1.1]).requires_grad_()
    balancer.backward(third, [third])
    assert not balancer.weights.isfinite().any()
    assert not third.grad.isfinite().any()


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        (Famo, {"offset": 0.0}, "offset is 0.0; must be above 0"),
        (Famo, {"gamma": -1.0}, "gamma is -1.0; must be 0 or more"),
        (Famo, {"w_lr": 0.0}, "w_lr is 0.0; must be above 0"),
        (Famo, {"min_weight": 0.2}, "min_weight is 0.2; must be in"),
        (Famo, {"weight_update_every": 0}, "weight_update_every is 0; must be 1 or more"),
        (Famo, {"published": True, "offset": 1.0}, "offset is 1.0; the published form has no"),
        (Famo, {"published": True, "decay": "decoupled"}, "decay is 'decoupled'; the published"),
        (Famo, {"published": True, "tasks": "exact5"}, "the published form has two_task"),
        (FamoPerScale, {"gamma_s3": -1.0}, "gamma_s3 is -1.0; must be 0 or more"),
        (FamoPerScale, {"scale_weights": (0.5, 0.5, 0.1)}, "the sum 1"),
        (FamoPerScale, {"scale_weights": (1.0, 0.5, -0.5)}, "each must be above 0"),
        (FamoPerScale, {"published": True, "tasks": "rate4"}, "published5 or exact5"),
        (FamoPerScale, {"published": True, "weight_update_every": 4}, "weight_update_every is 4"),
    ],
)
def test_refuses(kind: Any, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**given)


def test_second_look() -> None:
    assert build(Famo()).noise == "common"
    assert build(Famo(published=True)).noise == "fresh"
    assert build(FamoPerScale()).noise == "common"
    every4 = build(Famo(weight_update_every=4))
    assert [step for step in range(9) if every4.due(step)] == [0, 4, 8]
    assert not build(BALANCERS["sum"]()).due(0)


def test_float32_losses_are_weighed_in_float64() -> None:
    """A change of 0.14 % in one loss is seen; in bfloat16 it would be exactly 0."""
    balancer = build(Famo(gamma=0.0))
    assert isinstance(balancer, FamoBalancer)
    losses = torch.tensor([1.0, 1.0])
    balancer.update(losses, losses * torch.tensor([1.0, 0.9986]))
    first, second = balancer.logits.adam.exp_avg.tolist()
    expected = 0.1 * 0.25 * math.log((1 + 1) / (1.9986))
    assert -first == pytest.approx(expected, rel=1e-4)
    assert second == pytest.approx(expected, rel=1e-4)
