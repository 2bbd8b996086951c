"""FAMO against the published trajectories, its twin, and another implementation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchjd.scalarization import FAMO

from hpcm.losses import TASK_SETS
from hpcm.optimizers import CautiousAdam, Famo, FamoPerScale
from hpcm.optimizers.gamma_schedules import FixedGamma
from tests.numerics.toy_tasks import assert_close, build, golden, tensor
from tests.reference.famo import FamoTwin


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
            balancer.update(losses.detach(), tensor(after))
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
            balancer.update(before.detach(), two_losses(p, case))
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
        balancer.update(before.detach(), after.detach())
        assert_close(p.detach(), expected["p"], tolerance)
        assert_close(balancer.logits.w, expected["w"], tolerance)
    if case["min_losses"] != "all -1":
        assert not balancer.logits.w.isfinite().any()


@pytest.mark.parametrize("decay", ["l2", "decoupled"])
@pytest.mark.parametrize("min_weight", [0.0, 0.1])
@pytest.mark.parametrize(
    ("per_scale", "tasks"),
    [(False, "two_task"), (False, "exact5"), (True, "rate4"), (True, "exact5")],
)
def test_equals_its_twin_over_100_random_updates(
    per_scale: bool, tasks: str, min_weight: float, decay: str
) -> None:
    names, scales = TASK_SETS[tasks].names, TASK_SETS[tasks].scales
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
        balancer.update(losses.detach(), tensor(after))
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
