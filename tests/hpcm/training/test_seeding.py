"""Each forward pass has its noise: a function of the run's seed, the step and the look."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from hpcm.training.seeding import NoiseSource, initial_weights


def noise(seed: int, step: int, look: int) -> Tensor:
    return torch.rand(8, generator=NoiseSource(seed, torch.device("cpu")).at(step, look=look))


def test_noise_differs_by_seed_step_and_look_and_by_nothing_else() -> None:
    positions = list(itertools.product((0, 1), (0, 1, 2), (0, 1)))
    drawn = {position: noise(*position) for position in positions}
    for one, other in itertools.combinations(positions, 2):
        assert not torch.equal(drawn[one], drawn[other]), (one, other)
    source = NoiseSource(0, torch.device("cpu"))
    for _, step, look in reversed(positions[:6]):
        found = torch.rand(8, generator=source.at(step, look=look))
        assert torch.equal(found, drawn[0, step, look])


def test_initial_weights_differ_by_seed_and_leave_the_global_generator_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    drawn = []
    for seed in (0, 0, 1):
        with initial_weights(seed):
            drawn.append(torch.rand(4))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert torch.equal(torch.rand(4), expected)
