"""`family:NAME`: made-up learning curves over the parameters of any search space.

A curve is the percent of rate, at equal quality, above the best config of the space:

    E(c, t) = e(c) + rise(c) ((t / T)^-power - 1) + floor(c, t)

``e(c)``, what the config comes to at the maximum fidelity T, is a weighted sum of squared distances
to an optimum; the weights differ a hundredfold, so few parameters matter. ``rise`` makes curves
cross: a config that learns fast looks good at early rungs, whatever it comes to. ``floor`` is the
noise of a learning rate that is constant until T (HPCM's recipe has it until 2750 of 3000 epochs):
it grows with the square root of the rate, and averaged weights keep a share of it. Beside that each
run has a seed, and each config an operating point, which moves along one RD curve and costs nothing
(`rd_point.py`). Too large a learning rate diverges.

The sizes are made up, but for `tiny`: those that 20 runs of hpcm_tiny had (`python -m benchmarks
family_fit`; docs/log.md). What seeds do is not among them, and no curve rises, as four of them did.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hpcm.schema import ConfigError, did_you_mean
from tuning.simulation.rd_point import of_average, rd_metrics
from tuning.spaces.coordinates import Coordinate
from tuning.spaces.draws import draw
from tuning.spaces.space import SearchSpace

DRAWS = 200  # random configs that give the family its scale
INACTIVE = 0.2  # distance, as a share of a range, of a number that the best config has
WRONG_CHOICE = 0.5  # distance of another choice than the best one


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The parameters of a family; percent is percent of rate at equal quality."""

    prior_distance: float = 0.15  # of the optimum from the prior, as a share of each range (sd)
    wrong_choices: float = 0.2  # probability that the prior's choice is not the best one
    opposite: bool = False  # the optimum is half a range from the prior
    spread: float = 5.0  # percent that a random config comes to on average, > 0
    least_weight: float = 0.01  # of a parameter, the largest being 1; weights are log-uniform
    rise: float = 6.0  # percent that a typical curve falls from T / 4 to T, at power 0.5
    power: float = 0.5  # of the epochs, in the power law
    crossing: float = 0.35  # sd of the logarithm of `rise` over random configs
    noise: float = 0.8  # sd from epoch to epoch in percent, raw weights, the prior's learning rate
    averaged: float = 0.2  # share of it that averaged weights keep
    seed_noise: float = 0.15  # sd between seeds in percent, at every epoch alike
    diverging: float = 0.08  # share of the learning rate's range, from above, that diverges
    moves: float = 0.12  # sd of the operating points over random configs, octaves of rate
    baseline: float = 1.5  # percent that the baseline of `delta_rate` is worse than the prior
    epoch_seconds: float = 60.0  # of a typical config
    slower: float = 0.1  # sd of the logarithm of the seconds over random configs


PRESETS: dict[str, Shape] = {
    "good": Shape(),
    "misleading": Shape(opposite=True, wrong_choices=1.0, prior_distance=0.0),
    "noisy": Shape(noise=4.0, seed_noise=0.4),
    "crossing": Shape(crossing=0.9),
    "dense": Shape(least_weight=0.5),
    "tiny": Shape(
        spread=1.7,
        rise=0.56,
        crossing=1.0,
        noise=0.78,
        averaged=0.42,
        moves=0.1,
        baseline=0.08,
        diverging=0.0,
    ),
}


class Family:
    """One family drawn with ``landscape`` over the parameters of ``space``."""

    def __init__(self, space: SearchSpace, shape: Shape, landscape: int = 0) -> None:
        self.space, self.shape, self.landscape = space, shape, landscape
        self.own_lmbda, self.most = space.lmbda, space.fidelity.max
        generator = random.Random(landscape)
        self.coordinates = {c.path: c for c in space.coordinates()}
        low = math.log10(shape.least_weight)
        self.weights = {path: 10 ** generator.uniform(low, 0) for path in self.coordinates}
        self.best = {p: _optimum(c, shape, generator) for p, c in self.coordinates.items()}
        self.optimum = space.walk(lambda coordinate: self.best[coordinate.path])
        drawn = [draw(space, generator) for _ in range(DRAWS)]
        self.unit = 1.0
        self.unit = shape.spread * DRAWS / max(sum(map(self.excess, drawn)), 1e-9)
        self._directions = {
            name: _Direction(self.coordinates, drawn, generator)
            for name in ("rise", "place", "seconds")
        }

    @classmethod
    def from_text(cls, name: str, space: SearchSpace) -> Family:
        """The family of the preset ``name``. Raises :class:`ConfigError` if there is none."""
        if name not in PRESETS:
            raise ConfigError(
                f"--simulate family:{name}: no such family{did_you_mean(name, list(PRESETS))}"
            )
        return cls(space, PRESETS[name])

    def excess(self, params: Mapping[str, Any]) -> float:
        """``e(c)`` in percent, 0 for the best config; what a search's regret is measured by."""
        total = 0.0
        for path, coordinate in self.coordinates.items():
            active, in_best = path in params, path in self.optimum
            if active and (in_best or coordinate.type != "categorical"):
                total += self.weights[path] * self._distance(coordinate, params[path])
            elif in_best:
                total += self.weights[path] * INACTIVE**2
        return self.unit * total

    def report(self, params: Mapping[str, Any], seed: int, epoch: int) -> dict[str, float]:
        """The metrics of one epoch; NaN in all of them once the config has diverged."""
        shape, share = self.shape, epoch / self.most
        known = params if self._is_of_space(params) else self.space.prior()
        lmbda = self.own_lmbda if known is params else float(params["loss.lmbda"])
        rate = self._rate_share(known)
        if known is params and rate > 1 - shape.diverging and self.shape.diverging:
            return self._both(lmbda, math.nan, math.nan, 0.0)
        final = self.excess(known) + (0.0 if known is params else shape.baseline)
        speed = self._directions["rise"].of(known) if known is params else 0.0
        rise = shape.rise * math.exp(shape.crossing * speed)
        clean = final + rise * (share**-shape.power - 1)
        clean += shape.seed_noise * self._normal("seed", seed, known)
        noise = self._noise(rate) * (1 + self._normal("epoch", seed, epoch, known))
        place = 0.0 if known is not params else shape.moves * self._directions["place"].of(known)
        return self._both(
            lmbda, clean + noise, clean + shape.averaged * noise, max(-0.3, min(place, 0.3))
        )

    def seconds(self, params: Mapping[str, Any], epoch: int) -> float:
        """What an epoch costs, the same for every epoch of a config."""
        known = params if self._is_of_space(params) else self.space.prior()
        return self.shape.epoch_seconds * math.exp(
            self.shape.slower * self._directions["seconds"].of(known)
        )

    def text(self) -> str:
        """What its curves are worth."""
        return "its curves are made up: they say how a search goes, and nothing about a config"

    def _both(self, lmbda: float, raw: float, averaged: float, place: float) -> dict[str, float]:
        """The metrics of the raw and of the averaged weights."""
        own = self.own_lmbda
        return rd_metrics(lmbda, own, raw, place) | of_average(
            rd_metrics(lmbda, own, averaged, place)
        )

    def _is_of_space(self, params: Mapping[str, Any]) -> bool:
        """Whether these are the parameters of a trial, and not those of a reference run."""
        return params.keys() <= self.coordinates.keys()

    def _distance(self, coordinate: Coordinate, value: Any) -> float:
        """Squared, as a share of the range."""
        best = self.best[coordinate.path]
        if coordinate.type == "categorical":
            return WRONG_CHOICE**2 if value != best else 0.0
        if coordinate.split is not None:
            wrong = (value < coordinate.split) != (best < coordinate.split)
            return WRONG_CHOICE**2 if wrong else 0.0
        return (coordinate.share(value) - coordinate.share(best)) ** 2

    def _rate_share(self, params: Mapping[str, Any]) -> float:
        """Where the learning rate stands in its range; 0.5 if it is not searched."""
        coordinate = self.coordinates.get("optimizer.lr")
        if coordinate is None or coordinate.type == "categorical" or coordinate.path not in params:
            return 0.5
        return coordinate.share(params[coordinate.path])

    def _noise(self, rate_share: float) -> float:
        """Percent, the standard deviation of a raw score; a range spans a factor of ten here."""
        return self.shape.noise * 10 ** (0.5 * (rate_share - 0.5))

    def _normal(self, kind: str, *words: Any) -> float:
        """A standard normal number, the same for the same words."""
        text = repr((self.landscape, kind, *(_sorted(word) for word in words)))
        digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
        return random.Random(int.from_bytes(digest, "big")).gauss(0.0, 1.0)


class _Direction:
    """A weighted sum over the active coordinates, of mean 0 and sd 1 over random configs."""

    def __init__(
        self,
        coordinates: Mapping[str, Coordinate],
        drawn: list[dict[str, Any]],
        generator: random.Random,
    ) -> None:
        self.coordinates = coordinates
        self.slopes = {path: generator.gauss(0.0, 1.0) for path in coordinates}
        self.mean, self.sd = 0.0, 1.0
        values = [self.of(params) for params in drawn]
        self.mean = sum(values) / len(values)
        self.sd = math.sqrt(sum((v - self.mean) ** 2 for v in values) / len(values)) or 1.0

    def of(self, params: Mapping[str, Any]) -> float:
        total = 0.0
        for path, value in params.items():
            coordinate = self.coordinates[path]
            if coordinate.type == "categorical":
                share = coordinate.choices.index(value) / max(1, len(coordinate.choices) - 1)
            else:
                share = coordinate.share(value)
            total += self.slopes[path] * (share - 0.5)
        return (total - self.mean) / self.sd


def _optimum(coordinate: Coordinate, shape: Shape, generator: random.Random) -> Any:
    """The best value of a coordinate."""
    if coordinate.type == "categorical":
        others = [choice for choice in coordinate.choices if choice != coordinate.prior]
        away = bool(others) and generator.random() < shape.wrong_choices
        return generator.choice(others) if away else coordinate.prior
    if coordinate.split is not None:
        below = (coordinate.prior < coordinate.split) != (generator.random() < shape.wrong_choices)
        return coordinate.split / 2 if below else (1 + coordinate.split) / 2
    share = coordinate.share(coordinate.prior)
    if shape.opposite:
        return coordinate.at((share + 0.5) % 1.0)
    return coordinate.at(min(max(generator.gauss(share, shape.prior_distance), 0.0), 1.0))


def _sorted(word: Any) -> Any:
    return sorted(word.items()) if isinstance(word, Mapping) else word
