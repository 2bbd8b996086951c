"""Several processes: every rank has the same task weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed, multiprocessing

from hpcm.optimizers import Famo
from hpcm.optimizers.balancer import across_ranks


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
def test_weights_are_the_same_on_every_rank(tmp_path: Path) -> None:
    multiprocessing.spawn(train_rank, (str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert torch.equal(first["q"], second["q"])
    assert torch.equal(first["w"], second["w"])
    alone = Famo().build(("distortion", "rate"), (None, None), "cpu")
    alone.backward(torch.tensor([1.0, 1.25], requires_grad=True), [])
    torch.testing.assert_close(alone.weights, first["q"])


def test_losses_are_averaged_over_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    def all_reduce(value: Tensor) -> None:
        value += losses_of(1)

    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(distributed, "all_reduce", all_reduce)
    own = losses_of(0).double()
    assert across_ranks(own).tolist() == [1.0, 1.25]
    assert own.tolist() == [0.5, 1.5]
