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
    """``max(x, bound)``; below the bound the gradient passes where a descent step would raise x."""

    bound: Tensor

    def __init__(self, bound: float) -> None:
        super().__init__()
        self.register_buffer("bound", torch.tensor([bound]))

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return _LowerBound.apply(x, self.bound)


class GeneralizedGaussian(nn.Module):
    """Probability of an interval of length 1 around a centred value.

    c(t) = (1 + sign(t) P(1/beta, |t|^beta)) / 2, P the regularised lower incomplete gamma function;
    the scale is alpha of the distribution, not its standard deviation.

    ``published`` subtracts two cdf values as the authors do: in float32, likelihoods under about
    3e-8 are lost. ``accurate`` subtracts upper tails, which are small where the result is.
    """

    beta: Tensor

    def __init__(self, likelihood: Likelihood = "published") -> None:
        super().__init__()
        self.likelihood = likelihood
        self.register_buffer("beta", torch.tensor([BETA]))
        self.scale_lower_bound = LowerBound(SCALE_BOUND)
        self.likelihood_lower_bound = LowerBound(LIKELIHOOD_BOUND)

    def forward(self, values: Tensor, scales: Tensor) -> Tensor:
        """Likelihood of ``values`` at ``scales`` (broadcastable shapes), at least 1e-9."""
        scales = self.scale_lower_bound(scales)
        upper, lower = (values + 0.5) / scales, (values - 0.5) / scales
        mass = _interval_mass(upper, lower, self.beta, self.likelihood)
        return self.likelihood_lower_bound(mass)

    def cdf(self, t: Tensor) -> Tensor:
        """c(t) by the published formula."""
        return _cdf(t, self.beta)


def quantize(values: Tensor, means: Tensor) -> Tensor:
    """Round ``values - means`` half to even and add the means back.

    Straight-through: the gradient is 1 to ``values`` and exactly 0 to ``means``.
    """
    return _Quantize.apply(values, means)


def uniform_noise(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Noise in [-0.5, 0.5) of the shape, type and device of ``like``."""
    return torch.empty_like(like).uniform_(-0.5, 0.5, generator=generator)


def _cdf(t: Tensor, beta: Tensor) -> Tensor:
    return 0.5 * (1 + torch.sign(t) * torch.special.gammainc(1 / beta, t.abs() ** beta))


def _interval_mass(upper: Tensor, lower: Tensor, beta: Tensor, likelihood: Likelihood) -> Tensor:
    apply = _PublishedMass.apply if likelihood == "published" else _AccurateMass.apply
    return apply(upper, lower, beta)


def _density(t: Tensor, beta: Tensor) -> Tensor:
    return beta / 2 * torch.exp(-(t.abs() ** beta) - torch.lgamma(1 / beta))


class _PublishedMass(torch.autograd.Function):
    """c(upper) - c(lower), with the true density as gradient (torch has none for gammainc)."""

    @staticmethod
    def forward(ctx: Any, upper: Tensor, lower: Tensor, beta: Tensor) -> Tensor:
        ctx.save_for_backward(upper, lower, beta)
        return _cdf(upper, beta) - _cdf(lower, beta)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        upper, lower, beta = ctx.saved_tensors
        return grad * _density(upper, beta), -grad * _density(lower, beta), None


class _AccurateMass(torch.autograd.Function):
    """The same mass without cancellation in the tails; the gradient is the same."""

    @staticmethod
    def forward(ctx: Any, upper: Tensor, lower: Tensor, beta: Tensor) -> Tensor:
        ctx.save_for_backward(upper, lower, beta)
        shape = 1 / beta
        high, low = upper.abs() ** beta, lower.abs() ** beta
        near, far = torch.minimum(high, low), torch.maximum(high, low)
        tails = torch.special.gammaincc(shape, near) - torch.special.gammaincc(shape, far)
        bodies = torch.special.gammainc(shape, near) + torch.special.gammainc(shape, far)
        return 0.5 * torch.where(torch.sign(upper) * torch.sign(lower) > 0, tails, bodies)

    backward: Any = _PublishedMass.backward


class _LowerBound(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, bound: Tensor) -> Tensor:
        ctx.save_for_backward(x, bound)
        return torch.maximum(x, bound)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        x, bound = ctx.saved_tensors
        return grad * ((x >= bound) | (grad < 0)), None


class _Quantize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, values: Tensor, means: Tensor) -> Tensor:
        return torch.round(values - means) + means

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None
