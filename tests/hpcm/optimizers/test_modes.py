"""Schedule-free's two sets of weights, and packages that are missing."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch

from hpcm.optimizers import Adam, ScheduleFreeAdam, Soap, eval_mode, train_mode
from hpcm.schema import ConfigError


def test_schedule_free_swaps_its_two_sets_and_back() -> None:
    p = torch.ones(4, requires_grad=True)
    optimizer = ScheduleFreeAdam(lr=0.1).build([p])
    train_mode(optimizer)
    for _ in range(5):
        p.grad = p.detach().clone()
        optimizer.step()
    at_gradient = p.detach().clone()
    eval_mode(optimizer)
    averaged = p.detach().clone()
    assert not torch.equal(averaged, at_gradient)
    eval_mode(optimizer)
    assert torch.equal(p, averaged)
    train_mode(optimizer)
    torch.testing.assert_close(p.detach(), at_gradient)


def test_other_optimizers_have_one_set() -> None:
    p = torch.ones(4, requires_grad=True)
    optimizer = Adam().build([p])
    for mode in (train_mode, eval_mode):
        mode(optimizer)
        assert torch.equal(p, torch.ones(4))


@pytest.mark.parametrize(
    ("config", "package", "distribution"),
    [
        (Soap(), "pytorch_optimizer", "pytorch-optimizer"),
        (ScheduleFreeAdam(), "schedulefree", "schedulefree"),
    ],
)
def test_missing_package_says_what_to_install(
    config: Any, package: str, distribution: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=f"{config.name} needs .*`pip install {distribution}`"):
        config.build([torch.ones(1, requires_grad=True)])
