"""The entropy model: generalised Gaussian of shape beta = 1.5, bounds, quantiser, noise.

Everything here works in float32 or wider: callers under autocast pass values through
:func:`hpcm.full_precision.at_least_float32`.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

Likelihood = Literal["published", "accurate"]

BETA = 1.5
SCALE_BOUND = 0.12
LIKELIHOOD_BOUND = 1e-9


class LowerBound(nn.Module):
    """A bound as the published state dict keeps it: float32, whatever the model computes in."""

    bound: Tensor

    def __init__(self, bound: float) -> None:
        super().__init__()
        self.register_buffer("bound", torch.tensor([bound]))


class GeneralizedGaussian(nn.Module):
    """Probability of an interval of length 1 around a centred value.

    c(t) = (1 + sign(t) P(1/beta, |t|^beta)) / 2, P the regularised lower incomplete gamma function;
    the scale is alpha of the distribution, not its standard deviation. Scales are at least 0.12 and
    likelihoods at least 1e-9; below a bound the gradient passes if a descent step would raise
    what is bounded.

    ``published`` subtracts two cdf values as the authors do: in float32, likelihoods under about
    3e-8 are lost. ``accurate`` subtracts upper tails, which are small if the result is.
    """

    beta: Tensor

    def __init__(self, likelihood: Likelihood = "published") -> None:
        super().__init__()
        self.likelihood = likelihood
        self.register_buffer("beta", torch.tensor([BETA]))
        self.scale_lower_bound = LowerBound(SCALE_BOUND)
        self.likelihood_lower_bound = LowerBound(LIKELIHOOD_BOUND)

    def forward(self, values: Tensor, scales: Tensor) -> Tensor:
        """Likelihood of ``values`` at ``scales`` (broadcastable to them), at least 1e-9."""
        bounds = self.scale_lower_bound.bound, self.likelihood_lower_bound.bound
        return _Likelihood.apply(values, scales, self.beta, *bounds, self.likelihood)

    def cdf(self, t: Tensor) -> Tensor:
        """c(t) by the published formula."""
        powers = t.abs() ** self.beta
        return 0.5 * (1 + _signed(torch.special.gammainc(1 / self.beta, powers), t))


def quantize(values: Tensor, means: Tensor) -> Tensor:
    """Round ``values - means`` half to even and add the means back.

    Straight-through: the gradient is 1 to ``values`` and exactly 0 to ``means``.
    """
    return _Quantize.apply(values, means)


def uniform_noise(like: Tensor) -> Tensor:
    """Noise in [-0.5, 0.5) of the shape, type and device of ``like``, from the global generator."""
    return torch.rand_like(like) - 0.5


class _Likelihood(torch.autograd.Function):
    """The bounded mass and its two derivatives at once, in closed form.

    With t = (v +- 1/2) / s and the density p(t) = beta / (2 Gamma(1/beta)) exp(-|t|^beta), the mass
    c(t_upper) - c(t_lower) has the derivatives (p_upper - p_lower) / s to the value v and
    -(t_upper p_upper - t_lower p_lower) / s to the scale s; torch has none for gammainc.
    """

    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,
        scales: Tensor,
        beta: Tensor,
        least_scale: Tensor,
        least: Tensor,
        likelihood: Likelihood,
    ) -> Tensor:
        bounded = torch.maximum(scales, least_scale)
        ends = torch.stack((values + 0.5, values - 0.5)) / bounded  # upper, lower
        powers = ends.abs() ** beta
        mass = (_published if likelihood == "published" else _accurate)(ends, powers, 1 / beta)
        if any(ctx.needs_input_grad):
            density = torch.exp(-powers) * (beta / 2 * torch.exp(-torch.lgamma(1 / beta))) / bounded
            to_value = density[0] - density[1]
            moments = ends.mul_(density)
            ctx.save_for_backward(
                to_value, moments[1] - moments[0], mass >= least, scales >= least_scale
            )
            ctx.shapes = values.shape, scales.shape
        return torch.maximum(mass, least)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        to_value, to_scale, likely, wide = ctx.saved_tensors
        grad = grad * (likely | (grad < 0))
        to_scale = grad * to_scale
        to_scale = to_scale.sum_to_size(ctx.shapes[1])
        to_scale = to_scale * (wide | (to_scale < 0))
        return (grad * to_value).sum_to_size(ctx.shapes[0]), to_scale, None, None, None, None


def _published(ends: Tensor, powers: Tensor, shape: Tensor) -> Tensor:
    """The difference of two cdf values, each rounded near 1 as the authors' are."""
    upper, lower = _signed(torch.special.gammainc(shape, powers), ends).add_(1)
    return (upper - lower).mul_(0.5)


def _accurate(ends: Tensor, powers: Tensor, shape: Tensor) -> Tensor:
    """The difference of upper tails, or the sum of two bodies if 0 is inside."""
    near, far = torch.aminmax(powers, dim=0)
    tails = torch.special.gammaincc(shape, near) - torch.special.gammaincc(shape, far)
    bodies = torch.special.gammainc(shape, near) + torch.special.gammainc(shape, far)
    return 0.5 * torch.where(ends[0] * ends[1] > 0, tails, bodies)


def _signed(magnitude: Tensor, like: Tensor) -> Tensor:
    return torch.copysign(magnitude, like)


class _Quantize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, values: Tensor, means: Tensor) -> Tensor:
        return torch.round(values - means) + means

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None
