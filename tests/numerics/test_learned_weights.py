"""Learned weights, DWA and the gradient methods: published numbers, closed forms, other code."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchjd.aggregation import MGDA
from torchjd.scalarization import DWA

from hpcm.losses import TASK_SETS
from hpcm.optimizers import Direct, Dwa, Mgda, Uncertainty, UpGrad
from hpcm.optimizers.gradient import project_on_dual_cone

GOLDEN = json.loads(
    (Path(__file__).parents[1] / "golden/balanced_learnable_weighting.json").read_text()
)
UNCERTAINTY = [case for case in GOLDEN["cases"] if case["mode"] == "uncertainty"]
DIRECT = [case for case in GOLDEN["cases"] if case["mode"] == "direct"]


def tensor(values: Any) -> Tensor:
    return torch.tensor([float(v) for v in values], dtype=torch.float64)


def build(config: Any) -> Any:
    return config.build(TASK_SETS[config.tasks], "cpu")


def learn(balancer: Any, losses: Any, steps: int) -> None:
    for _ in range(steps):
        balancer.update(tensor(losses), tensor(losses))


def assert_close(actual: Any, expected: Any, tolerance: float = GOLDEN["tolerance_abs"]) -> None:
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("case", UNCERTAINTY, ids=lambda case: str(case["s"][0]))
def test_published_uncertainty(case: dict[str, Any]) -> None:
    tasks = "two_task" if len(case["losses"]) == 2 else "rate4"
    balancer = build(Uncertainty(tasks=tasks, clamp=case["clamp"][1], published=True))
    balancer.raw = tensor(case["s"])
    losses = tensor(case["losses"]).requires_grad_()
    expected = case["expected"]
    assert_close(balancer.backward(losses, [losses]), expected["total"])
    assert_close(balancer.weights, expected["effective_weights"])
    assert_close(losses.grad, expected["grad_L"])
    assert_close(balancer.raw_gradient(losses.detach()), expected["grad_s"])


def test_published_direct() -> None:
    """The documented form: exp of the extra raws. Later code took a sigmoid of the same raws."""
    case, later_code = DIRECT
    assert case["activation_for_extra_weights"] == "exp"
    init = case["init"]
    alpha = init["alpha"]
    config = Direct(tasks="rate4", init=(alpha, 1 - alpha, init["w9"], init["wkl"]), published=True)
    balancer = build(config)
    expected = case["expected"]
    assert_close(balancer.raw[[0, 2, 3]], expected["raw"])
    losses = tensor(case["losses"]).requires_grad_()
    assert_close(balancer.backward(losses, [losses]), expected["total"])
    assert_close(losses.grad, expected["weights"])
    assert_close(balancer.raw_gradient(losses.detach())[[0, 2, 3]], expected["grad_raw"])
    assert_close(balancer.raw[2:].sigmoid(), later_code["expected"]["weights"][2:])


@pytest.mark.parametrize(
    "config",
    [
        Uncertainty(tasks="rate4", init=0.3),
        Uncertainty(tasks="rate4", init=-0.3, published=True),
        Direct(tasks="rate4", init=(0.4, 0.3, 0.2, 0.1), strength=0.7),
        Direct(tasks="rate4", published=True),
    ],
    ids=lambda config: f"{config.name}-{config.published}",
)
def test_gradient_of_the_raw_parameters_is_autograds(config: Any) -> None:
    balancer = build(config)
    losses = tensor([1.0, 0.7, 0.8, 0.1])
    balancer.raw = (balancer.raw + tensor([0.2, -0.1, 0.3, 0.0])).requires_grad_()
    _, value = balancer.weigh(losses)
    value.backward()
    assert_close(balancer.raw_gradient(losses).detach(), balancer.raw.grad, 1e-12)


# Uncertainty


def test_uncertainty_comes_to_rest_at_the_inverse_losses() -> None:
    balancer = build(Uncertainty(offset=0.5, w_lr=0.02))
    learn(balancer, [4.0, 0.8], 2000)
    assert_close(balancer.raw, np.log([4.5, 1.3]), 1e-4)
    weights, _ = balancer.weigh(tensor([4.0, 0.8]))
    assert_close(weights, np.array([1 / 4.5, 1 / 1.3]) / (1 / 4.5 + 1 / 1.3), 1e-4)


@pytest.mark.parametrize("published", [True, False])
def test_clamp_in_the_graph_never_lets_go_and_the_projected_one_does(published: bool) -> None:
    """A loss of 1e-9 drives s to its bound; when the loss is 5 again, s should rise to log 5."""
    offset = None if published else 1e-6
    balancer = build(Uncertainty(published=published, w_lr=0.1, clamp=3.0, offset=offset))
    learn(balancer, [1e-9, 1e-9], 300)
    assert float(balancer.raw[0]) < -3 if published else float(balancer.raw[0]) == -3
    stuck = balancer.raw_gradient(tensor([5.0, 5.0]))
    learn(balancer, [5.0, 5.0], 3000)
    if published:
        assert torch.equal(stuck, torch.zeros(2).double())
        assert float(balancer.raw[0]) < -3
    else:
        assert_close(balancer.raw, np.log([5.0, 5.0]), 1e-2)


def test_published_rate_freezes_uncertainty() -> None:
    """At a tenth of the model's rate s moves by 5e-6 a step: 1,000 steps go nowhere near log 5."""
    balancer = build(Uncertainty(published=True))
    balancer.model_lr = 5e-5
    learn(balancer, [5.0, 5.0], 1000)
    assert 0 < float(balancer.raw[0]) < 0.0051 < math.log(5)


@pytest.mark.parametrize("config", [Uncertainty(published=True), Direct(published=True)], ids=str)
def test_published_rate_is_a_tenth_of_the_models(config: Any) -> None:
    """Adam's steps are as long as its rate while the gradient does not change."""
    balancer, losses = build(config), tensor([5.0, 1.0])
    balancer.raw_gradient = lambda losses: torch.ones_like(losses)
    for model_lr in (2e-4, 2e-4, 3e-5):
        balancer.model_lr = model_lr
        before = balancer.raw.clone()
        balancer.update(losses, losses)
        assert_close((before - balancer.raw).tolist(), [0.1 * model_lr] * 2, 1e-10)


def test_raw_parameters_are_logged() -> None:
    balancer = build(Uncertainty(tasks="rate4"))
    balancer.losses = tensor([1.0, 0.5, 0.5, 0.5])
    balancer.raw = tensor([0.5, -1.0, 2.0, 0.0])
    logged = balancer.log()
    found = [logged[f"balance/raw_{name}"] for name in TASK_SETS["rate4"].names]
    assert found == balancer.raw.tolist()


def test_defaults_of_the_sound_forms() -> None:
    """Own rate 5e-3, which is the length of Adam's first step; offset 1; strength 1."""
    losses = tensor([4.0, 0.8])
    uncertainty, direct = build(Uncertainty()), build(Direct())
    assert_close(uncertainty.raw_gradient(losses), [-4.0, -0.8], 1e-12)  # 1 - (L + 1) at s = 0
    for balancer in (uncertainty, direct):
        before = balancer.raw.clone()
        balancer.update(losses, losses)
        assert_close((balancer.raw - before).abs(), [5e-3, 5e-3], 1e-9)
    learn(direct, [4.0, 0.8], 4000)
    at_rest = np.exp([-4.0, -0.8])
    assert_close(direct.weigh(losses)[0], at_rest / at_rest.sum(), 1e-4)


# Direct


def test_published_direct_starts_as_published_and_is_clamped_in_the_graph() -> None:
    balancer, losses = build(Direct(tasks="rate4", published=True)), tensor([1.0, 0.7, 0.8, 0.1])
    assert_close(balancer.weigh(losses)[0], [0.5, 0.5, 0.2, 0.1], 1e-7)
    balancer.raw[2:] = tensor([11.0, -11.0])
    assert_close(balancer.weigh(losses)[0][2:], np.exp([10.0, -10.0]), 1e-9)
    assert balancer.raw_gradient(losses)[2:].tolist() == [0, 0]


def test_published_direct_switches_training_off_and_the_sound_form_does_not() -> None:
    losses = [1.0, 0.7, 0.8, 0.1]
    published = build(Direct(tasks="rate4", published=True, w_lr=5e-3))
    learn(published, losses, 3000)
    weights, _ = published.weigh(tensor(losses))
    assert weights[[0, 2, 3]].max() < 0.01

    sound = build(Direct(tasks="rate4", w_lr=5e-3, strength=0.5, init=(0.4, 0.3, 0.2, 0.1)))
    learn(sound, losses, 3000)
    weights, _ = sound.weigh(tensor(losses))
    at_rest = np.array([0.4, 0.3, 0.2, 0.1]) * np.exp(-np.array(losses) / 0.5)
    assert_close(weights, at_rest / at_rest.sum(), 1e-4)


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        (Uncertainty, {"w_lr": 0.0}, "w_lr is 0.0; must be above 0"),
        (Uncertainty, {"clamp": 0.0}, "clamp is 0.0; must be above 0"),
        (Uncertainty, {"init": 11.0}, "init is 11.0; must be within the clamp"),
        (Uncertainty, {"offset": 0.0}, "offset is 0.0; must be above 0"),
        (Uncertainty, {"offset": 1.0, "published": True}, "the published form has none"),
        (Direct, {"init": (0.5, 0.3, 0.2)}, "two_task wants 2 above 0"),
        (Direct, {"init": (0.5, 0.3), "published": True}, "the first two sum to 1"),
        (Direct, {"strength": 1.0, "published": True}, "the published form has no such term"),
        (Direct, {"strength": 0.0}, "strength is 0.0; must be above 0"),
        (Dwa, {"temperature": 0.0}, "temperature is 0.0; must be above 0"),
    ],
)
def test_refuses(kind: Any, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**given)


# Dynamic weight average


def test_dwa_equals_torchjd() -> None:
    ours, theirs = build(Dwa(tasks="rate4", temperature=0.5)), DWA(temperature=0.5)
    random = torch.Generator().manual_seed(0)
    for epoch in range(5):
        for _ in range(3):
            values = torch.rand(4, generator=random, dtype=torch.float64) + 0.1 + epoch % 2
            mine, other = values.clone().requires_grad_(), values.clone().requires_grad_()
            ours.backward(mine, [mine])
            theirs(other).backward()
            torch.testing.assert_close(mine.grad, other.grad)
        assert (float(ours.weights.std()) > 0.01) == (epoch >= 2)
        ours.observe(tensor([1.0, 1.0, 1.0]))
        theirs.step()


# Gradient methods


def gradients_of(config: Any, jacobian: Tensor, losses: Tensor | None = None) -> tuple[Any, Tensor]:
    """The balancer after one backward pass through losses with this Jacobian, and .grad."""
    balancer = build(config)
    p = torch.zeros(jacobian.shape[1], dtype=torch.float64, requires_grad=True)
    start = torch.ones(len(jacobian)).double() if losses is None else losses
    balancer.backward(start + jacobian @ p, [p])
    return balancer, p.grad


@pytest.mark.parametrize(
    ("g1", "g2", "first"),
    [
        ([1.0, 0.0], [0.0, 1.0], 0.5),
        ([2.0, 0.0], [0.0, 1.0], 0.2),
        ([3.0, 0.1], [1.0, 0.0], 0.0),  # not clipped it would be -0.5: ascent of the first loss
    ],
)
def test_mgda_of_two_tasks_is_the_clipped_closed_form(
    g1: list[float], g2: list[float], first: float
) -> None:
    """w_1 = (|g2|^2 - g1 g2) / |g1 - g2|^2, within [0, 1]."""
    balancer, grad = gradients_of(Mgda(log_losses=False), torch.stack([tensor(g1), tensor(g2)]))
    assert_close(balancer.weights, [first, 1 - first], 1e-6)
    assert_close(grad, first * np.array(g1) + (1 - first) * np.array(g2), 1e-6)


def test_mgda_equals_torchjd_on_the_jacobian() -> None:
    random = torch.Generator().manual_seed(0)
    for _ in range(5):
        jacobian = torch.randn(4, 7, generator=random, dtype=torch.float64)
        _, grad = gradients_of(Mgda(tasks="rate4", log_losses=False), jacobian)
        torch.testing.assert_close(grad, MGDA()(jacobian))


@pytest.mark.parametrize("kind", [Mgda, UpGrad])
def test_log_losses_make_the_units_of_a_loss_irrelevant(kind: Any) -> None:
    jacobian, losses = tensor([1.0, 0.5, -0.2, 0.8]).reshape(2, 2), tensor([2.0, 0.5])
    directions = []
    for unit in (1.0, 1000.0):
        scale = tensor([unit, 1.0])
        _, grad = gradients_of(kind(log_losses=True), scale[:, None] * jacobian, scale * losses)
        directions.append(grad / grad.norm())
    torch.testing.assert_close(*directions, rtol=0, atol=1e-5)


def test_upgrad_conflicts_with_no_task() -> None:
    random = torch.Generator().manual_seed(0)
    for _ in range(10):
        jacobian = torch.randn(4, 7, generator=random, dtype=torch.float64)
        balancer, grad = gradients_of(UpGrad(tasks="rate4"), jacobian)
        assert (jacobian @ grad > -1e-6 * grad.norm()).all()
        assert float(balancer.weights.sum()) == pytest.approx(1)


def test_projection_on_the_dual_cone_solves_its_programme() -> None:
    """v >= u, G v >= 0, and G v = 0 wherever v > u: the conditions of the minimum."""
    random = torch.Generator().manual_seed(1)
    for _ in range(10):
        jacobian = torch.randn(4, 6, generator=random, dtype=torch.float64)
        gramian, wanted = jacobian @ jacobian.T, torch.eye(4, dtype=torch.float64) / 4
        for u, v in zip(wanted, project_on_dual_cone(wanted, gramian), strict=True):
            slope = gramian @ v
            assert (v >= u - 1e-9).all()
            assert (slope >= -1e-5).all()
            assert (slope[v > u + 1e-6].abs() < 1e-5).all()


def test_gradient_methods_pass_over_what_they_cannot_reach() -> None:
    """A frozen parameter, and one that only the first task sees."""
    for kind in (Mgda, UpGrad):
        balancer = build(kind())
        seen, frozen, first_only = (
            torch.ones(2, dtype=torch.float64, requires_grad=grad) for grad in (True, False, True)
        )
        losses = torch.stack([seen[0] + first_only.sum() + frozen.sum(), 1 + seen[1]])
        balancer.backward(losses, [seen, frozen, first_only])
        assert frozen.grad is None
        assert_close(first_only.grad, [float(balancer.weights[0])] * 2, 1e-12)


def test_gradient_methods_do_not_hide_a_gradient_that_is_not_finite() -> None:
    for kind, bad in itertools.product((Mgda, UpGrad), (math.nan, math.inf)):
        _, grad = gradients_of(kind(), torch.tensor([[1.0, bad], [0.0, 1.0]]).double())
        assert not grad.isfinite().all()
