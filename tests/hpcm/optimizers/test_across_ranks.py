"""Several processes: every rank has the same task weights."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, multiprocessing

from hpcm.optimizers import BALANCERS, Famo, FamoPerScale, LearnedShares
from hpcm.optimizers.balancer import Balancer, across_ranks
from hpcm.optimizers.gamma_schedules import ScaleAdaptiveGamma
from tests.numerics.toy_tasks import build

pytestmark = pytest.mark.filterwarnings("ignore:balancer learned_shares degenerates")

CONFIGS = {name: config() for name, config in BALANCERS.items()} | {
    "learned_shares that learn": LearnedShares(w_lr=0.1),
    "famo_per_scale with adaptive gammas": FamoPerScale(gamma_schedule=ScaleAdaptiveGamma()),
}


def losses_of(rank: int) -> Tensor:
    return torch.tensor([0.5 + rank, 1.5 - 0.5 * rank])


def train_rank(rank: int, directory: str) -> None:
    distributed.init_process_group(
        "gloo", init_method=f"file://{directory}/meet", rank=rank, world_size=2
    )
    balancer = Famo().build(("distortion", "rate"), (None, None), "cpu")
    losses = losses_of(rank).requires_grad_()
    balancer.backward(losses, [losses])
    balancer.update(losses.detach(), losses.detach() * torch.tensor([0.9, 1.0 - 0.1 * rank]))
    torch.save({"q": balancer.weights, "w": balancer.logits.w}, f"{directory}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.slow
def test_weights_are_the_same_in_two_processes(tmp_path: Path) -> None:
    multiprocessing.spawn(train_rank, (str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert torch.equal(first["q"], second["q"])
    assert torch.equal(first["w"], second["w"])
    alone = Famo().build(("distortion", "rate"), (None, None), "cpu")
    alone.backward(torch.tensor([1.0, 1.25], requires_grad=True), [])
    torch.testing.assert_close(alone.weights, first["q"])


class Ranks:
    """Two threads in the place of two processes: ``all_reduce`` waits for the other's tensor."""

    def __init__(self) -> None:
        self.both = threading.Barrier(2, timeout=60)
        self.own = threading.local()
        self.given: list[Tensor] = [torch.empty(0)] * 2

    def all_reduce(self, value: Tensor) -> None:
        self.given[self.own.rank] = value.clone()
        self.both.wait()
        value.copy_(self.given[0] + self.given[1])
        self.both.wait()

    def run(self, rank: int, config: Any) -> Balancer:
        self.own.rank = rank
        return trained(config, rank)


def trained(config: Any, rank: int) -> Balancer:
    """Five epochs of four steps on losses that are this rank's own."""
    balancer = build(config)
    n = len(balancer.names)
    generator = torch.Generator().manual_seed(rank)
    p = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    rows = torch.randn(n, 6, generator=generator, dtype=torch.float64)
    for epoch in range(5):
        balancer.apply(config, epoch / 60, epoch)
        for step in range(4):
            losses = 1 + rank + torch.rand(n, generator=generator, dtype=torch.float64) + rows @ p
            balancer.backward(losses, [p])
            if balancer.due(step):
                moved = torch.rand(n, generator=generator, dtype=torch.float64)
                balancer.update(losses.detach(), losses.detach() * moved)
        balancer.observe(torch.rand(3, generator=generator, dtype=torch.float64) * 10**rank)
    balancer.apply(config, 5 / 60, 5)
    return balancer


@pytest.mark.parametrize("name", CONFIGS)
def test_weights_are_the_same_on_every_rank(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ranks = Ranks()
    alone = [trained(CONFIGS[name], rank) for rank in range(2)]
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(distributed, "all_reduce", ranks.all_reduce)
    with ThreadPoolExecutor(2) as threads:
        runs = [threads.submit(ranks.run, rank, CONFIGS[name]) for rank in range(2)]
        first, second = (run.result() for run in runs)
    assert first.log() == second.log()
    states = [repr(balancer.state_dict()) for balancer in (first, second, *alone)]
    assert states[0] == states[1]
    assert len({*states[1:]}) == 3
    if name != "sum":
        assert alone[0].log() != alone[1].log()


def test_losses_are_averaged_over_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    def all_reduce(value: Tensor) -> None:
        value += losses_of(1)

    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(distributed, "all_reduce", all_reduce)
    own = losses_of(0).double()
    assert across_ranks(own).tolist() == [1.0, 1.25]
    assert own.tolist() == [0.5, 1.5]
