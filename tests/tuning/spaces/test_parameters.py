"""Distributions: what they accept, and that what is sampled means what it says."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from hpcm.schema import ConfigError, load
from tuning.spaces.coordinates import Coordinate, sampled
from tuning.spaces.draws import draw_one
from tuning.spaces.parameters import (
    DISTRIBUTIONS,
    Bool,
    Categorical,
    Float,
    Int,
    Parameter,
    Simplex,
)

EXAMPLES: list[Parameter] = [
    Float(low=1e-5, high=5e-4, log=True, prior=5e-5),
    Float(low=-1.0, high=2.0, prior=0.0),
    Float(low=1e-2, high=0.3, log=True, zero=0.7, prior=0.0),
    Float(low=1e-2, high=0.3, zero=0.2, prior=0.1),
    Int(low=1, high=100, log=True, prior=7),
    Int(low=-3, high=3, prior=0),
    Bool(prior=True),
    Categorical(choices=("a", "b", 3, None, True), prior="b"),
    Simplex(size=3, low=0.05, prior=(0.3, 0.4, 0.3)),
    Simplex(size=2, prior=(1.0, 0.0)),
    Simplex(size=5, prior=(0.0, 0.0, 0.2, 0.5, 0.3)),
]


def read(parameter: Parameter, generator: random.Random) -> Any:
    return parameter.read("path", lambda coordinate: draw_one(coordinate, generator))


@pytest.mark.parametrize("parameter", EXAMPLES, ids=lambda p: type(p).__name__)
def test_every_draw_is_a_member_and_the_prior_comes_back(parameter: Parameter) -> None:
    generator = random.Random(3)
    assert all(parameter.contains(read(parameter, generator)) for _ in range(500))
    again = parameter.read("path", lambda coordinate: coordinate.prior)
    assert again == (list(parameter.prior) if isinstance(parameter, Simplex) else parameter.prior)
    for coordinate in parameter.coordinates("path"):
        assert coordinate.contains(coordinate.prior)
        assert coordinate.path == "path" or coordinate.path.startswith("path.")


@pytest.mark.parametrize(
    ("kind", "spec", "message"),
    [
        ("float", {"low": 2.0, "high": 1.0, "prior": 1.5}, "low is 2, not below high (1)"),
        ("float", {"low": 0.0, "high": 1.0, "prior": 0.5, "log": True}, "low is 0; must be above"),
        ("float", {"low": 1.0, "high": 2.0, "prior": 3.0}, "prior is 3, outside 1 to 2"),
        ("float", {"low": 1.0, "high": 2.0, "prior": 0.0}, "prior is 0, outside 1 to 2"),
        ("float", {"low": 1.0, "high": 2.0, "prior": 1.0, "zero": 1.0}, "zero is 1.0; must be"),
        ("float", {"low": -1.0, "high": 2.0, "prior": 1.0, "zero": 0.5}, "0 is already between"),
        ("float", {"low": "1e-4", "high": 1.0, "prior": 0.5}, "as text; write 1.0e-4"),
        ("float", {"low": 0.0, "high": float("inf"), "prior": 1.0}, "high"),
        ("float", {"low": 0.0, "high": 1.0, "prior": 0.5, "choices": [1]}, "choices: unknown key"),
        ("int", {"low": 0, "high": 4, "prior": 5}, "prior is 5, outside 0 to 4"),
        ("int", {"low": 0.5, "high": 4, "prior": 2}, "low: 0.5"),
        ("bool", {"prior": 1}, "prior: 1"),
        ("categorical", {"choices": [], "prior": "a"}, "choices is empty"),
        ("categorical", {"choices": ["a", "a"], "prior": "a"}, "choices holds 'a' twice"),
        ("categorical", {"choices": ["a", ["b"]], "prior": "a"}, "must be finite scalars"),
        ("categorical", {"choices": [1, 2], "prior": True}, "prior is True, not one of 1, 2"),
        ("categorical", {"choices": ["1e-4", 0.1], "prior": 0.1}, "as text; write 1.0e-4"),
        ("categorical", {"choices": [0.1, "1.25E-3"], "prior": 0.1}, "write 1.25e-3"),
        ("categorical", {"choices": [2, "3"], "prior": 2}, "'3'. It is in quotes; write 3"),
        ("simplex", {"size": 1, "prior": [1.0]}, "size is 1; must be 2 or more"),
        ("simplex", {"size": 3, "low": 0.4, "prior": [0.3, 0.4, 0.3]}, "low is 0.4; must be"),
        ("simplex", {"size": 3, "prior": [0.3, 0.4, 0.2]}, "must be 3 numbers of at least"),
        ("simplex", {"size": 3, "low": 0.1, "prior": [0.05, 0.55, 0.4]}, "at least 0.1"),
        ("simplex", {"size": 2, "prior": [0.3, 0.4, 0.3]}, "must be 2 numbers"),
    ],
)  # fmt: skip
def test_bad_distributions_are_refused(kind: str, spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(DISTRIBUTIONS[kind], spec, "mine.yaml")
    assert message in str(raised.value)


def test_zero_has_the_stated_probability_and_leaves_the_rest_as_it_was() -> None:
    parameter = Float(low=1e-2, high=0.3, log=True, zero=0.7, prior=0.0)
    generator = random.Random(0)
    values = np.array([read(parameter, generator) for _ in range(20_000)])
    assert abs(np.mean(values == 0) - 0.7) < 0.015  # 4.6 standard errors
    logs = np.sort(np.log(values[values > 0]))
    uniform = np.linspace(np.log(1e-2), np.log(0.3), len(logs))
    assert np.abs(logs - uniform).max() < 0.08


def test_zero_asks_for_the_value_only_where_it_is_not_0() -> None:
    parameter = Float(low=1.0, high=2.0, zero=0.5, prior=1.5)
    assert parameter.read("p", sampled({"p.zero": 0.49})) == 0.0
    assert parameter.read("p", sampled({"p.zero": 0.5, "p": 1.25})) == 1.25
    with pytest.raises(ConfigError, match="p: active, but no value was given"):
        parameter.read("p", sampled({"p.zero": 0.5}))


@pytest.mark.parametrize("size", [2, 3, 5])
def test_simplex_is_uniform_over_all_shares(size: int) -> None:
    low = 0.04
    parameter = Simplex(size=size, low=low, prior=(1 / size,) * size)
    generator = random.Random(1)
    shares = np.array([read(parameter, generator) for _ in range(20_000)])
    np.testing.assert_allclose(shares.sum(axis=1), 1.0, atol=1e-11)
    free = (shares - low) / (1 - size * low)  # Dirichlet(1, .., 1): each ~ Beta(1, size - 1)
    np.testing.assert_allclose(free.mean(axis=0), 1 / size, atol=0.01)
    variance = (size - 1) / (size**2 * (size + 1))
    np.testing.assert_allclose(free.var(axis=0), variance, rtol=0.05)


def test_simplex_reaches_its_corners() -> None:
    parameter = Simplex(size=3, low=0.1, prior=(0.3, 0.4, 0.3))
    corners = {(1, 0): [0.8, 0.1, 0.1], (0, 1): [0.1, 0.8, 0.1], (0, 0): [0.1, 0.1, 0.8]}
    for (first, second), expected in corners.items():
        given = sampled({"p.0": first, "p.1": second})
        np.testing.assert_allclose(parameter.read("p", given), expected, atol=1e-12)


def test_log_draws_are_even_in_ratio_and_whole_numbers_reach_both_ends() -> None:
    generator = random.Random(2)
    coordinate = Coordinate(path="p", type="float", prior=1.0, low=1e-4, high=1.0, log=True)
    draws = [draw_one(coordinate, generator) for _ in range(10_000)]
    assert abs(np.mean(np.array(draws) < 1e-2) - 0.5) < 0.025
    for log in (False, True):
        whole = Coordinate(path="p", type="int", prior=1, low=1, high=5, log=log)
        counts = np.bincount([draw_one(whole, generator) for _ in range(5_000)], minlength=6)[1:]
        assert (counts > 0).all()
        assert (counts[0] > 2 * counts[-1]) == log  # ln(1.5/0.5) against ln(5.5/4.5)


@pytest.mark.parametrize(
    ("coordinate", "value", "inside"),
    [
        (Coordinate(path="p", type="float", prior=1.0, low=0.0, high=1.0), 1, True),
        (Coordinate(path="p", type="float", prior=1.0, low=0.0, high=1.0), 1.0001, False),
        (Coordinate(path="p", type="float", prior=1.0, low=0.0, high=1.0), float("nan"), False),
        (Coordinate(path="p", type="float", prior=1.0, low=0.0, high=1.0), True, False),
        (Coordinate(path="p", type="int", prior=1, low=0, high=1), 1.0, False),
        (Coordinate(path="p", type="categorical", prior=1, choices=(1, 2)), True, False),
        (Coordinate(path="p", type="categorical", prior="a", choices=("a", None)), None, True),
    ],
)
def test_membership_of_a_coordinate(coordinate: Coordinate, value: Any, inside: bool) -> None:
    assert coordinate.contains(value) is inside
