"""Cautious Adam's two ways through many tensors, the steps that it skips, and old checkpoints."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch

from benchmarks.kernels import KernelCounter
from hpcm.optimizers import CautiousAdam, cautious
from tests.numerics.random_steps import random_parameters, random_steps


def test_all_at_once_equals_one_by_one() -> None:
    """The path a GPU takes, on a CPU: all tensors in each foreach call."""
    config = CautiousAdam(lr=0.01, amsgrad=True)
    params, copies = random_parameters(torch.float64), random_parameters(torch.float64)
    one_by_one, group = config.build(params), config.build(copies).param_groups[0]
    states = [cautious.fresh_state(param, amsgrad=True) for param in copies]
    generator = torch.Generator().manual_seed(3)
    for _ in range(10):
        for param, copy in zip(params, copies, strict=True):
            param.grad = torch.randn(param.shape, generator=generator, dtype=torch.float64)
            copy.grad = param.grad.clone()
        one_by_one.step()
        with torch.no_grad():
            cautious.update_together(copies, states, group)
    for param, copy in zip(params, copies, strict=True):
        torch.testing.assert_close(copy, param, rtol=0, atol=1e-14)


@pytest.mark.parametrize("together", [False, True])
def test_a_skipped_step_leaves_parameters_moments_and_steps(together: bool) -> None:
    params = random_parameters(torch.float32)
    optimizer = CautiousAdam(lr=0.01, weight_decay=0.1).build(params)
    random_steps(optimizer, params, 3, seed=1)
    before = deepcopy((params, optimizer.state_dict()["state"]))
    for param in params:
        param.grad = torch.full_like(param, torch.nan)
    found_inf = torch.ones(())
    if together:
        states = [optimizer.state[param] for param in params]
        with torch.no_grad():
            cautious.update_together(params, states, optimizer.param_groups[0], found_inf)
    else:
        optimizer.found_inf = found_inf
        optimizer.step()
    after = params, optimizer.state_dict()["state"]
    torch.testing.assert_close(after, before, rtol=0, atol=0)


def test_all_at_once_takes_as_many_launches_for_many_tensors_as_for_few() -> None:
    counts = []
    for number in (1, 8):
        params = random_parameters(torch.float32) * number
        params = [param.detach().clone().requires_grad_() for param in params]
        for param in params:
            param.grad = torch.randn_like(param)
        states = [cautious.fresh_state(param, amsgrad=False) for param in params]
        group = CautiousAdam(weight_decay=0.1).build(params).param_groups[0]
        with torch.no_grad(), KernelCounter() as counter:
            cautious.update_together(params, states, group)
        counts.append(counter.counts.total())
    assert counts[0] == counts[1] <= 20


def test_a_checkpoint_that_counts_steps_on_the_host_still_loads() -> None:
    params = random_parameters(torch.float32)
    optimizers = [CautiousAdam().build(params) for _ in range(2)]
    random_steps(optimizers[0], params, 3, seed=1)
    old = optimizers[0].state_dict()
    for state in old["state"].values():
        state["step"] = 3
    optimizers[1].load_state_dict(old)
    states = [optimizer.state_dict()["state"] for optimizer in optimizers]
    torch.testing.assert_close(states[1][0]["step"], torch.tensor(3.0))
