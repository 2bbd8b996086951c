"""Each forward pass has its noise: a function of the run's seed, the step and the look."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from hpcm.training.seeding import GAMMA, CounterNoise, initial_weights, mix

SHAPES = {"z": (3, 2, 2), "y": (4, 8, 8)}
CPU = torch.device("cpu")


def noise(seed: int, step: int, look: int, samples: range = range(2)) -> Tensor:
    drawn = CounterNoise(seed, CPU).draw(step, SHAPES, samples, look)
    assert {name: tuple(value.shape[1:]) for name, value in drawn.items()} == SHAPES
    return torch.cat([value.flatten(1) for value in drawn.values()], 1)


def test_noise_differs_by_seed_step_and_look_and_by_nothing_else() -> None:
    positions = list(itertools.product((0, 1), (0, 1, 2), (0, 1)))
    drawn = {position: noise(*position) for position in positions}
    for one, other in itertools.combinations(positions, 2):
        assert not torch.isclose(drawn[one], drawn[other]).any(), (one, other)
    for position in reversed(positions):
        assert torch.equal(noise(*position), drawn[position])


def test_noise_of_a_sample_does_not_depend_on_who_else_is_in_its_batch() -> None:
    """Nor on the device: whole numbers are exact everywhere."""
    whole = noise(0, 5, 0, range(6))
    assert torch.equal(torch.cat((noise(0, 5, 0, range(4)), noise(0, 5, 0, range(4, 6)))), whole)
    assert whole.flatten().unique().numel() > 0.999 * whole.numel()


def test_noise_is_splitmix64() -> None:
    """Its first numbers from state 1234567, as published with the algorithm's reference code."""
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    states = torch.tensor([1, 2, 3]) * GAMMA + 1234567
    assert [value % 2**64 for value in mix(states).tolist()] == published


def test_noise_is_uniform_and_independent_of_its_neighbours() -> None:
    """Of 2.4 million: mean, variance, 64 bins, and correlations with neighbours and samples."""
    shape = {"y": (96, 64, 64)}
    drawn = CounterNoise(1, CPU).draw(3, shape, range(6))["y"].double()
    values = drawn.flatten()
    n = values.numel()
    assert values.min() >= -0.5
    assert values.max() < 0.5
    assert abs(values.mean()) < 4 / (12 * n) ** 0.5
    assert values.var().item() == pytest.approx(1 / 12, rel=5e-3)
    bins = torch.histc(values, 64, -0.5, 0.5)
    assert ((bins - n / 64).square() / (n / 64)).sum() < 120  # 63 degrees of freedom
    for shift in (1, 64, 4096, n // 6):
        assert abs((values[shift:] * values[:-shift]).mean() * 12) < 4 / (n - shift) ** 0.5


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
