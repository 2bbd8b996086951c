"""The density of a group of parameters in TPE: a mixture with one kernel for each trial.

As in Optuna's `TPESampler(multivariate=True)`: a kernel is a product of truncated normal
distributions (numbers, in logarithms if they are drawn so) and of categorical ones; one more, wide
kernel stands for the prior. Optuna's own code evaluates the normal distribution number by number in
Python; this one uses scipy's functions on whole arrays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from scipy.special import log_ndtr, ndtr, ndtri

Distribution: TypeAlias = CategoricalDistribution | FloatDistribution | IntDistribution
Array: TypeAlias = npt.NDArray[Any]
PRIOR_WEIGHT = 1.0


@dataclass(frozen=True)
class Choices:
    """A categorical parameter: ``weights[kernel, choice]``, rows sum to 1."""

    weights: Array

    @classmethod
    def of(cls, seen: Array, distribution: CategoricalDistribution) -> Choices:
        """Each kernel prefers the choice of its trial; the last one is the prior."""
        kernels = len(seen) + 1
        weights = np.full((kernels, len(distribution.choices)), PRIOR_WEIGHT / kernels)
        weights[np.arange(len(seen)), seen.astype(int)] += 1
        return cls(weights / weights.sum(axis=1, keepdims=True))

    def sample(self, kernels: Array, uniform: Array) -> Array:
        """An index of a choice for each of ``kernels``."""
        below = np.cumsum(self.weights[kernels], axis=1) < uniform[:, None]
        chosen: Array = below[:, :-1].sum(axis=1).astype(float)
        return chosen

    def log_density(self, values: Array) -> Array:
        """The log density, of shape (values, kernels)."""
        shares: Array = self.weights[:, values.astype(int)].T
        return np.log(shares)


@dataclass(frozen=True)
class Normals:
    """A number: kernels at ``means`` with standard deviations ``scales``, cut at the bounds."""

    distribution: FloatDistribution | IntDistribution
    low: float
    high: float
    means: Array
    scales: Array

    @classmethod
    def of(cls, seen: Array, distribution: FloatDistribution | IntDistribution) -> Normals:
        """A kernel is as wide as the way to the farther one of its two neighbours."""
        half = (distribution.step or 0) / 2
        bounds = np.array([distribution.low - half, distribution.high + half])
        if distribution.log:
            seen, bounds = np.log(seen), np.log(bounds)
        low, high = (float(bound) for bound in bounds)
        order = np.argsort(seen)
        gaps = np.diff(np.concatenate(([low], seen[order], [high])))
        widths = np.maximum(gaps[:-1], gaps[1:])
        if len(seen) >= 2:  # the way to a bound does not count
            widths[0], widths[-1] = gaps[1], gaps[-2]
        scales = np.empty_like(widths)
        scales[order] = widths
        narrowest = (high - low) / min(100.0, len(seen) + 2.0)
        scales = np.clip(scales, narrowest, high - low)
        means = np.append(seen, 0.5 * (low + high))
        return cls(distribution, low, high, means, np.append(scales, high - low))

    def sample(self, kernels: Array, uniform: Array) -> Array:
        """A number for each of ``kernels``, as the parameter has it."""
        means, scales = self.means[kernels], self.scales[kernels]
        first, last = ndtr((self.low - means) / scales), ndtr((self.high - means) / scales)
        values: Array = means + scales * ndtri(first + uniform * (last - first))
        values = np.clip(values, self.low, self.high)
        values = np.exp(values) if self.distribution.log else values
        low, high, step = self.distribution.low, self.distribution.high, self.distribution.step
        if step is not None:
            values = low + np.round((values - low) / step) * step
        clipped: Array = np.clip(values, low, high)
        return clipped

    def log_density(self, values: Array) -> Array:
        """The same for numbers: per unit of the number, or the probability of an integer."""
        inside = ndtr((self.high - self.means) / self.scales)
        inside = np.log(inside - ndtr((self.low - self.means) / self.scales))
        step, log = self.distribution.step, self.distribution.log
        if step is None:
            values = np.log(values) if log else values
            distance = (values[:, None] - self.means) / self.scales
            density: Array = -0.5 * distance**2 - np.log(np.sqrt(2 * np.pi) * self.scales) - inside
            return density
        ends = values[:, None] + np.array([-0.5, 0.5]) * step
        ends = np.log(ends) if log else ends
        left, right = ((ends[:, [side]] - self.means) / self.scales for side in (0, 1))
        upper = left > 0  # there the difference is taken in the other tail, which is exact
        left, right = np.where(upper, -right, left), np.where(upper, -left, right)
        shares = log_ndtr(left) - log_ndtr(right)
        probability: Array = log_ndtr(right) + np.log1p(-np.exp(shares)) - inside
        return probability


class Mixture:
    """The density of ``group``, from ``seen``: values of shape (trials,) of every parameter.

    Values are Optuna's internal ones. ``weights``: of the trials, of shape (trials,).
    """

    def __init__(
        self, group: Mapping[str, Distribution], seen: Mapping[str, Array], weights: Array
    ) -> None:
        weights = np.append(weights, PRIOR_WEIGHT)
        self.weights = weights / weights.sum()
        self.parts = {
            path: Choices.of(seen[path], one)
            if isinstance(one, CategoricalDistribution)
            else Normals.of(seen[path], one)
            for path, one in group.items()
        }

    def sample(self, generator: np.random.RandomState, size: int) -> dict[str, Array]:
        """``size`` draws; random numbers are taken in the order in which Optuna takes them."""
        kernels = generator.choice(len(self.weights), p=self.weights, size=size)
        choices = [path for path, part in self.parts.items() if isinstance(part, Choices)]
        numbers = [path for path in self.parts if path not in choices]
        uniform = {path: generator.rand(size) for path in [*choices, *numbers]}
        return {path: part.sample(kernels, uniform[path]) for path, part in self.parts.items()}

    def log_density(self, values: Mapping[str, Array]) -> Array:
        """The log density, of shape (values,)."""
        total = np.log(self.weights)
        for path, part in self.parts.items():
            total = total + part.log_density(values[path])
        most = total.max(axis=1)
        sums: Array = most + np.log(np.exp(total - most[:, None]).sum(axis=1))
        return sums
