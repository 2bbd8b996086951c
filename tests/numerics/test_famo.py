"""Facts about FAMO: what moves its weights, what holds them, what its floors do."""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from hpcm.optimizers import BALANCERS, Famo, FamoPerScale
from hpcm.optimizers.famo import FamoBalancer
from hpcm.optimizers.gamma_schedules import FixedGamma
from tests.numerics.toy_tasks import assert_close, build, tensor, train
from tests.reference.famo import FamoTwin


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
    twin.m, twin.v = (
        donor.logits.adam.exp_avg.numpy().copy(),
        donor.logits.adam.exp_avg_sq.numpy().copy(),
    )
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
    assert torch.equal(balancer.contributions(), balancer.logits.shares(0.1))


@pytest.mark.parametrize("offset", [0.5, 1.0, 10.0])
def test_lambda_eff_at_equal_logits(offset: float) -> None:
    """lambda_eff / lambda = (o + R) / (o + L_D) at z = 1/2."""
    balancer = build(Famo(offset=offset))
    losses = tensor([4.0, 0.8]).requires_grad_()
    balancer.backward(losses, [losses])
    ratio = balancer.log()["balance/lambda_eff_ratio"]
    assert ratio == pytest.approx((offset + 0.8) / (offset + 4.0), rel=1e-6)


def test_with_a_floor_of_zero_lambda_drops_out() -> None:
    """The gradient is that of log D and log R then, in the same ratio whatever lambda is."""
    ratios: dict[float, list[float]] = {0.0: [], -1.0: []}
    for floor, found in ratios.items():
        for lmbda in (0.0018, 0.05):
            balancer = build(Famo())
            balancer.floor = tensor([floor, floor])
            distortion, rate = tensor([100.0, 0.8]).unbind()
            losses = torch.stack([lmbda * distortion, rate]).requires_grad_()
            balancer.backward(losses, [losses])
            q = balancer.weights.tolist()
            found.append(lmbda * q[0] / q[1])  # what D counts in units of R
    assert ratios[0.0][0] == pytest.approx(ratios[0.0][1], rel=1e-6)
    assert ratios[-1.0][1] > 5 * ratios[-1.0][0]


def test_lambda_eff_of_several_rates_is_weighed_by_their_losses() -> None:
    """sum q L / sum L of the distortions, over the same of the rates: what the step works on."""
    balancer = build(FamoPerScale())
    losses = tensor([3.0, 0.1, 1.0, 0.3, 0.6]).requires_grad_()
    balancer.backward(losses, [losses])
    q = balancer.weights.tolist()
    distortion = (3.0 * q[0] + 1.0 * q[2]) / 4.0
    rate = (0.1 * q[1] + 0.3 * q[3] + 0.6 * q[4]) / 1.0
    assert balancer.log()["balance/lambda_eff_ratio"] == pytest.approx(distortion / rate, rel=1e-12)


def test_gamma_inside_adam_has_no_scale_of_its_own() -> None:
    """With nothing to learn, w falls to 0.05 in as many updates for any gamma; decoupled not.

    Adam divides the pull by its own size, so that gamma drops out.
    """
    counts: dict[str, list[int]] = {"l2": [], "decoupled": []}
    for decay, found in counts.items():
        for gamma in (1e-5, 1e-3, 1e-2):
            balancer = build(Famo(gamma=gamma, decay=decay))
            balancer.logits.w = tensor([1.0, -1.0])
            updates = 0
            while float(balancer.logits.w[0]) > 0.05 and updates < 100:
                balancer.update(tensor([1.0, 1.0]), tensor([1.0, 1.0]))
                updates += 1
            found.append(updates)
    assert set(counts["l2"]) <= {51, 52}
    assert set(counts["decoupled"]) == {100}


def test_contributions_are_the_shares_in_use_and_published_those_before_the_scale_weights() -> None:
    """There s1 and s2 have two tasks each and s3 one, whatever the scale weights are."""
    for published, expected in ((False, (0.2, 0.2, 0.6)), (True, (0.4, 0.4, 0.2))):
        config = FamoPerScale(
            tasks="published5", published=published, scale_weights=(0.2, 0.2, 0.6)
        )
        log = build(config).log()
        assert [log[f"scale_contrib/s{s}"] for s in (1, 2, 3)] == pytest.approx(expected)


def test_published_scale_weights_are_not_what_a_scale_gets() -> None:
    """At equal losses 0.353, 0.471, 0.176 for 0.3, 0.4, 0.3; and with z in c they miss 1."""
    balancer = build(FamoPerScale(tasks="published5", published=True))
    balancer.floor = -torch.ones(5, dtype=torch.float64)
    equal = torch.ones(5, dtype=torch.float64, requires_grad=True)
    balancer.backward(equal, [equal])
    q = balancer.weights.tolist()
    assert [q[0] + q[1], q[2] + q[3], q[4]] == pytest.approx([0.353, 0.471, 0.176], abs=1e-3)
    uneven = tensor([0.1, 1.0, 0.1, 1.0, 5.0]).requires_grad_()
    balancer.backward(uneven, [uneven])
    assert abs(float(balancer.weights.sum()) - 1) > 0.01


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


@pytest.mark.parametrize("low", [-1.5, -1.0])
def test_a_loss_below_its_floor_stops_the_sound_form_at_once(low: float) -> None:
    balancer = build(Famo())
    losses = tensor([0.5, low]).requires_grad_()
    value = balancer.backward(losses, [losses])
    assert not value.isfinite()
    assert not losses.grad.isfinite().any()
    assert balancer.explain() == f"rate: loss {low:g} is at or below its floor -1"


def test_a_broken_second_look_teaches_nothing() -> None:
    balancer = build(Famo())
    balancer.update(tensor([0.5, 0.5]), tensor([0.4, math.nan]))
    assert torch.equal(balancer.logits.w, torch.zeros(2).double())


def test_published_first_batch_floors_break_and_say_why() -> None:
    balancer = build(FamoPerScale(tasks="published5", published=True))
    first = tensor([1.0, 1.0, 1.0, 1.0, 1.0]).requires_grad_()
    assert balancer.backward(first, [first]).isfinite()
    balancer.update(first, first)
    second = tensor([0.99, 1.02, 1.0, 1.0, 1.0]).requires_grad_()
    assert balancer.backward(second, [second]).isnan()
    assert "distortion_s1: loss 0.99 is at or below its floor 1" in balancer.explain()
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
