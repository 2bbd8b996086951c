"""Likelihood, bounds and quantiser, against SciPy in float64 and recorded float32 numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from hpcm.model.entropy import GeneralizedGaussian, quantize, uniform_noise
from tests.reference import likelihood as twin

GOLDEN = Path(__file__).parent.parent / "golden"


@pytest.fixture(scope="module")
def table() -> dict[str, np.ndarray]:
    """Likelihoods and gradients over 93 values x 16 scales."""
    ops = np.load(GOLDEN / "hpcm_ops.npz")
    return {key: ops[key] for key in ops.files if key.startswith("ggm_")}


def evaluate(
    table: dict[str, np.ndarray], dtype: torch.dtype, likelihood: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Likelihood, d bits / d value, d bits / d scale over the table's grid."""
    model = GeneralizedGaussian(likelihood).to(dtype)
    grid = np.meshgrid(table["ggm_values"], table["ggm_scales"], indexing="ij")
    values, scales = (torch.tensor(axis, dtype=dtype, requires_grad=True) for axis in grid)
    result = model(values, scales)
    (-torch.log2(result)).sum().backward()
    return result.detach(), values.grad, scales.grad


@pytest.mark.parametrize(("dtype", "suffix"), [(torch.float32, "f32"), (torch.float64, "f64")])
def test_published_likelihood_matches_the_authors(
    table: dict[str, np.ndarray], dtype: torch.dtype, suffix: str
) -> None:
    result, to_value, to_scale = evaluate(table, dtype, "published")
    steps = 2.0**-24 if suffix == "f32" else 1e-15  # one count of a cdf near 1
    np.testing.assert_allclose(
        result,
        table[f"ggm_{suffix}_likelihood"],
        rtol=1e-5 if suffix == "f32" else 1e-9,
        atol=steps,
    )
    if suffix == "f64":  # in float32 a gradient is a density over a likelihood of a few counts
        np.testing.assert_allclose(to_value, table["ggm_f64_dbits_dvalue"], rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(to_scale, table["ggm_f64_dbits_dscale"], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_accurate_tails(table: dict[str, np.ndarray], dtype: torch.dtype) -> None:
    """Relative error of the likelihood, not absolute, down to the bound of 1e-9."""
    result, to_value, to_scale = evaluate(table, dtype, "accurate")
    grid = np.meshgrid(table["ggm_values"], table["ggm_scales"], indexing="ij")
    rtol = 1e-4 if dtype == torch.float32 else 1e-9
    np.testing.assert_allclose(result, twin.likelihood(*grid), rtol=rtol)
    expected = twin.bits_gradients(*grid)
    for gradient, wanted in zip((to_value, to_scale), expected, strict=True):
        np.testing.assert_allclose(gradient, wanted, rtol=2e-3 if rtol == 1e-4 else 1e-7, atol=1e-4)


def test_published_float32_loses_the_tail_that_accurate_keeps() -> None:
    """v = 1.25 at scale 0.1201: the published gradient is 1111 bits per unit, the true one 46."""
    gradients = {}
    for likelihood in ("published", "accurate"):
        value = torch.tensor([1.25], requires_grad=True)
        mass = GeneralizedGaussian(likelihood)(value, torch.tensor([0.1201]))
        (-torch.log2(mass)).sum().backward()
        gradients[likelihood] = value.grad.item()
    assert gradients["published"] == pytest.approx(1111, rel=1e-2)
    assert gradients["accurate"] == pytest.approx(46, rel=1e-2)


@pytest.mark.parametrize("likelihood", ["published", "accurate"])
def test_gradients_against_finite_differences(likelihood: str) -> None:
    model = GeneralizedGaussian(likelihood).double()
    generator = torch.Generator().manual_seed(3)
    values = torch.empty(200, dtype=torch.float64).uniform_(-6, 6, generator=generator)
    scales = torch.empty(200, dtype=torch.float64).uniform_(0.8, 9, generator=generator)
    values.requires_grad_()
    scales.requires_grad_()
    assert torch.autograd.gradcheck(model, (values, scales), eps=1e-5, atol=1e-7, rtol=1e-3)


def test_likelihoods_of_all_symbols_sum_to_one() -> None:
    model = GeneralizedGaussian("accurate").double()
    symbols = torch.arange(-400, 401).double()[:, None]
    scales = torch.tensor([[0.05, 0.12, 1.0, 7.0, 60.0]], dtype=torch.float64)
    torch.testing.assert_close(
        model(symbols, scales).sum(0), torch.ones(5).double(), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("likelihood", ["published", "accurate"])
def test_below_a_bound_only_descent_that_raises_has_a_gradient(likelihood: str) -> None:
    """A likelihood under 1e-9, and a scale under 0.12, each seen from both sides."""
    model = GeneralizedGaussian(likelihood).double()

    def gradients(value: float, scale: float, sign: float) -> tuple[float, float]:
        v, s = (torch.tensor([x], dtype=torch.float64, requires_grad=True) for x in (value, scale))
        (sign * model(v, s)).sum().backward()
        return v.grad.item(), s.grad.item()

    assert gradients(9.0, 1.0, +1) == (0, 0)
    to_value, to_scale = gradients(9.0, 1.0, -1)
    assert to_value > 0
    assert to_scale < 0
    assert gradients(0.0, 0.05, +1)[1] < 0  # less mass in the middle: by a larger scale
    assert gradients(0.0, 0.05, -1)[1] == 0  # more: a descent would make it smaller still


def test_quantize_rounds_half_to_even_and_passes_gradients_straight() -> None:
    values = torch.tensor([0.75, 2.75, -1.2], requires_grad=True)
    means = torch.tensor([0.25, 0.25, 0.3], requires_grad=True)
    rounded = quantize(values, means)
    torch.testing.assert_close(rounded, torch.tensor([0.25, 2.25, -1.7]))
    rounded.backward(torch.tensor([1.0, 2.0, 3.0]))
    assert values.grad.tolist() == [1, 2, 3]
    assert means.grad is None


def test_noise_is_uniform() -> None:
    torch.manual_seed(7)
    noise = uniform_noise(torch.zeros(200, 200))
    assert -0.5 <= noise.min() < -0.499
    assert 0.499 < noise.max() < 0.5
    assert noise.std().item() == pytest.approx(12**-0.5, rel=1e-2)
