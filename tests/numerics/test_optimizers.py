"""Every optimizer: what all owe, and cautious Adam against its twin and the published numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hpcm.optimizers import OPTIMIZERS, Adam, AdamW, CautiousAdam, cautious, eval_mode, train_mode
from hpcm.schema import fields_of
from tests.numerics.random_steps import random_parameters, random_steps
from tests.reference.cautious import CautiousAdamTwin

GOLDEN = json.loads((Path(__file__).parents[1] / "golden/balanced_cautious_adam.json").read_text())
OTHER = {
    **{"lr": 0.03, "one_minus_beta1": 0.2, "one_minus_beta2": 0.05},
    **{"eps": 1e-6, "weight_decay": 0.25},
}


def rosenbrock(p: Tensor) -> Tensor:
    return (100 * (p[1:] - p[:-1] ** 2) ** 2 + (1 - p[:-1]) ** 2).sum()


def descend(optimizer: torch.optim.Optimizer, loss: Callable[[], Tensor], steps: int) -> None:
    train_mode(optimizer)
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    eval_mode(optimizer)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_falls_on_rosenbrock(name: str) -> None:
    p = torch.tensor([1.6, 0.4, 0.7, -0.4], dtype=torch.float64, requires_grad=True)
    start = rosenbrock(p).item()
    descend(OPTIMIZERS[name](lr=0.02).build([p]), lambda: rosenbrock(p), 300)
    assert rosenbrock(p).item() < 0.02 * start


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_keeps_dtype_and_moves(name: str, dtype: torch.dtype) -> None:
    params = random_parameters(dtype)
    before = [param.detach().clone() for param in params]
    random_steps(OPTIMIZERS[name](lr=0.1).build(params), params, 3, seed=1)
    for param, old in zip(params, before, strict=True):
        assert param.dtype == dtype
        assert param.isfinite().all()
        assert not torch.equal(param, old)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_round_trip_then_equal_steps(name: str, dtype: torch.dtype) -> None:
    config = OPTIMIZERS[name](lr=0.01)
    params = random_parameters(dtype)
    optimizer = config.build(params)
    random_steps(optimizer, params, 11, seed=1)
    copies = [param.detach().clone().requires_grad_() for param in params]
    restored = config.build(copies)
    restored.load_state_dict(deepcopy(optimizer.state_dict()))
    config.apply(restored, 1.0)
    random_steps(optimizer, params, 11, seed=2)
    random_steps(restored, copies, 11, seed=2)
    for param, copy in zip(params, copies, strict=True):
        assert torch.equal(param, copy)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_config_wins_over_a_restored_state(name: str) -> None:
    donor = OPTIMIZERS[name](lr=0.01)
    params = random_parameters(torch.float32)
    optimizer = donor.build([{"params": params[:2]}, {"params": params[2:], "lr_mult": 0.5}])
    random_steps(optimizer, params, 2, seed=1)
    hot = {info.path for info in fields_of(OPTIMIZERS[name]) if info.hot}
    changed = replace(donor, **{field: value for field, value in OTHER.items() if field in hot})
    restored = changed.build([{"params": params[:2]}, {"params": params[2:], "lr_mult": 0.5}])
    restored.load_state_dict(deepcopy(optimizer.state_dict()))
    changed.apply(restored, 0.1)
    for group, mult in zip(restored.param_groups, (1.0, 0.5), strict=True):
        assert group["lr"] == pytest.approx(0.003 * mult, rel=1e-15)
        if "one_minus_beta1" in hot:
            assert tuple(group["betas"]) == pytest.approx((0.8, 0.95), rel=1e-15)
        for field in {"eps", "weight_decay"} & hot:
            assert group[field] == OTHER[field]


REFUSED = {"lr": 0.0, "one_minus_beta1": 0.0, "one_minus_beta2": 1.5, "eps": 0.0}


@pytest.mark.parametrize(
    ("name", "field"),
    [(n, i.path) for n, c in OPTIMIZERS.items() for i in fields_of(c) if i.path in REFUSED],
)
def test_refuses_what_cannot_work(name: str, field: str) -> None:
    value = REFUSED[field]
    with pytest.raises(ValueError, match=f"{field} is {value}; must be"):
        OPTIMIZERS[name](**{field: value})


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_refuses_to_optimise_nothing(name: str) -> None:
    with pytest.raises(ValueError, match="no parameters"):
        OPTIMIZERS[name]().build([])


# Cautious Adam


def golden_loss(case: dict[str, Any], p: Tensor) -> Tensor:
    if case["name"] == "rosenbrock":
        return rosenbrock(p)
    a, c = (torch.tensor(case["coeffs"][key], dtype=p.dtype) for key in "ac")
    return 0.5 * (a * (p - c) ** 2).sum()


def golden_config(hyper: dict[str, Any]) -> CautiousAdam:
    beta1, beta2 = hyper["betas"]
    return CautiousAdam(
        lr=hyper["lr"],
        one_minus_beta1=1 - beta1,
        one_minus_beta2=1 - beta2,
        eps=hyper["eps"],
        weight_decay=hyper["weight_decay"],
        amsgrad=hyper.get("amsgrad", False),
    )


@pytest.mark.parametrize("case", GOLDEN["cases"][:-1], ids=lambda case: case["name"])
def test_published_trajectory(case: dict[str, Any]) -> None:
    p = torch.tensor(case["p0"], dtype=torch.float64, requires_grad=True)
    optimizer = golden_config(case["hyper"]).build([p])
    for expected in case["expected"]["trajectory"][1:]:
        descend(optimizer, lambda: golden_loss(case, p), 1)
        np.testing.assert_allclose(p.detach(), expected, rtol=0, atol=GOLDEN["tolerance_abs"])
    np.testing.assert_allclose(
        optimizer.state[p]["exp_avg"], case["expected"]["final_exp_avg"], rtol=1e-12
    )
    np.testing.assert_allclose(
        optimizer.state[p]["exp_avg_sq"], case["expected"]["final_exp_avg_sq"], rtol=1e-12
    )


def test_published_cap() -> None:
    case = GOLDEN["cases"][-1]
    p = torch.zeros(case["n"], dtype=torch.float64, requires_grad=True)
    optimizer = golden_config(case["hyper"]).build([p])
    fed = zip(case["gradients_first_last"], case["expected"]["first_last"], strict=True)
    for (first, last), expected in fed:
        p.grad = torch.full_like(p, last)
        p.grad[: case["k"]] = first
        optimizer.step()
        np.testing.assert_allclose(
            p.detach()[[0, -1]], expected, rtol=0, atol=GOLDEN["tolerance_abs"]
        )


@pytest.mark.parametrize("chunk", [1 << 16, 50])
@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6)])
def test_equals_its_twin_over_100_random_gradients(
    dtype: torch.dtype,
    tolerance: float,
    amsgrad: bool,
    chunk: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cautious, "CHUNK", chunk)
    config = CautiousAdam(lr=0.01, weight_decay=0.1, amsgrad=amsgrad, cap=1.5)
    params = random_parameters(dtype)
    params.append(torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last).to(dtype))
    params[-1].requires_grad_()
    optimizer = config.build(params)
    twins = [
        CautiousAdamTwin(p.detach().numpy(), 0.01, weight_decay=0.1, amsgrad=amsgrad, cap=1.5)
        for p in params
    ]
    generator = torch.Generator().manual_seed(3)
    for _ in range(100):
        for param, twin in zip(params, twins, strict=True):
            param.grad = torch.randn(param.shape, generator=generator, dtype=dtype)
            twin.step(param.grad.numpy())
        optimizer.step()
    for param, twin in zip(params, twins, strict=True):
        np.testing.assert_allclose(param.detach(), twin.theta, rtol=0, atol=tolerance)


def test_an_element_without_gradient_stays_and_counts_as_disagreeing() -> None:
    p = torch.ones(4, dtype=torch.float64, requires_grad=True)
    p.grad = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    CautiousAdam(lr=0.01).build([p]).step()
    torch.testing.assert_close(p.detach(), torch.tensor([0.96, 1, 1, 1]).double())


@pytest.mark.parametrize(("cap", "factor"), [(10.0, 10), (500.0, 500), (1e6, 1000)])
def test_the_share_that_agrees_counts_as_a_thousandth_at_least(cap: float, factor: float) -> None:
    """One element of 4,000 agrees: min(1 / max(1 / 4000, 1e-3), cap)."""
    p = torch.zeros(4000, dtype=torch.float64, requires_grad=True)
    p.grad = torch.zeros_like(p)
    p.grad[0] = -1.0
    CautiousAdam(lr=0.01, cap=cap).build([p]).step()
    assert p[0].item() == pytest.approx(0.01 * factor, rel=1e-6)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_reduces_to_torch_where_everything_agrees(weight_decay: float) -> None:
    """Gradients of one sign: the mask is all ones and what is left is AdamW."""
    ours, theirs = random_parameters(torch.float64), random_parameters(torch.float64)
    optimizers = [
        CautiousAdam(lr=0.01, weight_decay=weight_decay).build(ours),
        torch.optim.AdamW(theirs, lr=0.01, weight_decay=weight_decay),
    ]
    generator = torch.Generator().manual_seed(3)
    for _ in range(50):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.rand(a.shape, generator=generator, dtype=torch.float64) + 0.1
            b.grad = a.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-13)


def test_half_precision_keeps_wide_moments() -> None:
    """A gradient of 1e-6 squared is 0 in float16: with narrow moments the step would be huge."""
    p = torch.ones(8, dtype=torch.float16, requires_grad=True)
    optimizer = CautiousAdam(lr=0.1).build([p])
    p.grad = torch.full_like(p, 1e-6)
    optimizer.step()
    assert optimizer.state[p]["exp_avg_sq"].dtype == torch.float32
    assert p.dtype == torch.float16
    torch.testing.assert_close(p.detach(), torch.full_like(p, 0.9), rtol=0, atol=2e-3)


def test_a_parameter_without_gradient_stays_and_starts_later() -> None:
    a, b = (torch.ones(3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    optimizer = CautiousAdam(lr=0.1, weight_decay=0.1).build([a, b])
    for step in range(3):
        a.grad = torch.ones_like(a)
        b.grad = torch.ones_like(b) if step == 2 else None
        optimizer.step()
    assert optimizer.state[b]["step"] == 1
    torch.testing.assert_close(b.detach(), torch.full_like(b, 0.99 - 0.1), rtol=0, atol=1e-8)


@pytest.mark.parametrize(("kind", "of_torch"), [(Adam, "Adam"), (AdamW, "AdamW")])
def test_adam_is_torchs(kind: Any, of_torch: str) -> None:
    ours, theirs = random_parameters(torch.float32), random_parameters(torch.float32)
    random_steps(kind(lr=0.01, weight_decay=0.1).build(ours), ours, 20, seed=1)
    optimizer = getattr(torch.optim, of_torch)(theirs, lr=0.01, weight_decay=0.1)
    random_steps(optimizer, theirs, 20, seed=1)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)
