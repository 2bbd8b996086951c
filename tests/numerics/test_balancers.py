"""What every balancer owes, whichever it is."""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch

from hpcm.optimizers import BALANCERS
from hpcm.schema import fields_of
from tests.numerics.toy_tasks import build, tensor, toy_losses, train

pytestmark = pytest.mark.filterwarnings("ignore:balancer learned_shares degenerates")


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
def test_the_gradient_is_added_to_what_is_there(name: str) -> None:
    balancer = build(BALANCERS[name]())
    gradients = []
    for start in (None, torch.ones(4).double()):
        p = torch.full((4,), 2.0, dtype=torch.float64, requires_grad=True)
        p.grad = start
        balancer.backward(toy_losses(p, len(balancer.names)), [p])
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
def test_weights_sum_to_one_but_for_those_that_docs_architecture_names(name: str) -> None:
    balancer = build(BALANCERS[name]())
    n = len(balancer.names)
    losses = torch.linspace(0.5, 1.5, n, dtype=torch.float64).requires_grad_()
    balancer.backward(losses, [losses])
    total = float(balancer.weights.sum())
    if name == "learned_shares":
        assert 1 < total < 2  # all of the rate's shares, two of the distortion's three
    else:
        assert total == pytest.approx(n if name in ("sum", "dwa") else 1, abs=1e-9)


@pytest.mark.parametrize("name", BALANCERS)
def test_state_round_trip_then_equal_steps(name: str) -> None:
    config = BALANCERS[name]()
    balancer = build(config)
    p = torch.full((4,), 3.0, requires_grad=True)
    optimizer = torch.optim.Adam([p], lr=0.05)
    train(balancer, p, optimizer, 10)
    balancer.observe(tensor([1.0, 2.0, 3.0]))
    train(balancer, p, optimizer, 3)  # in the midst of an epoch

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


OTHER = {"scale_weights": (0.6, 0.2, 0.2), "min_weight": 0.15, "temperature": 0.1}
HOT = [
    (kind, info.path)
    for kind in BALANCERS.values()
    for info in fields_of(kind)
    if info.hot and "." not in info.path
]


@pytest.mark.parametrize(
    ("kind", "field"), HOT, ids=lambda value: getattr(value, "__name__", value)
)
def test_a_hot_field_acts_as_if_it_had_been_there_from_the_start(kind: Any, field: str) -> None:
    first = kind(w_lr=0.1) if hasattr(kind(), "w_lr") else kind()
    changed = replace(first, **{field: OTHER.get(field, 0.5)})
    ends = []
    for built, config in ((first, first), (first, changed), (changed, changed)):
        balancer = build(built)
        p = torch.full((4,), 3.0, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.Adam([p], lr=0.05)
        for epoch in range(4):
            balancer.apply(config, epoch / 30, epoch)
            train(balancer, p, optimizer, 5)
            balancer.observe(tensor([1.0, 2.0, 3.0]))
        ends.append(p.detach())
    assert torch.equal(ends[1], ends[2])
    assert not torch.equal(ends[0], ends[1])
