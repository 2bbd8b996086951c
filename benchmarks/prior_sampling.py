"""What proposals around the prior gain if it is good, and cost if it misleads.

    python -m benchmarks prior_sampling --searcher tpe --seeds 20

The parameters of a shipped space, conditions and all, with a made-up loss in place of training: a
weighted sum of squared distances to an optimum, over each coordinate's share of its range, and a
penalty for each wrong choice; the weights differ a hundredfold, so few parameters matter. The
optimum is near the prior (``close``: normal, 0.05 of the range, a choice is the prior's with 95 %;
``good``: 0.15 and 80 %), half a range away from it with every choice another (``misleading``), or
anywhere (``any``). Every trial trains in full, one after the other; trial 0 is the prior with and
without. Regret: the best loss so far; 0 is the least there is, 1 the mean of random draws.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any

from benchmarks.record import write_record
from benchmarks.search_driver import AT_ONE_LMBDA
from tuning.ledger.records import TrialRecord
from tuning.search.random_draws import Random
from tuning.search.tpe_section import Tpe
from tuning.spaces.coordinates import Coordinate
from tuning.spaces.draws import draw, draw_one
from tuning.spaces.loading import load_space
from tuning.spaces.space import SearchSpace

SECTIONS = {"tpe": partial(Tpe, incumbent_share=0.0), "random": Random}
SETTINGS: dict[str, dict[str, Any]] = {
    "off": {"prior_share": 0.0},
    "halves at 10": {"prior_share": 0.5},
    "halves at 20": {"prior_share": 0.5, "prior_trials": 20},
    "halves at 60": {"prior_share": 0.5, "prior_trials": 60},
    "never falls": {"prior_share": 0.5, "prior_trials": 10**9},
    "width 0.1": {"prior_share": 0.5, "prior_width": 0.1},
}
KINDS = {  # standard deviation of the optimum around the prior, probability of another choice
    "close": (0.05, 0.05),
    "good": (0.15, 0.2),
    "misleading": (0.0, 1.0),
    "any": (0.0, 0.0),
}
INACTIVE = 0.04  # distance counted for a coordinate that is not active: 0.2 of its range
AT = (8, 16, 32, 64)  # trials


class Loss:
    """One made-up loss, drawn with ``seed``."""

    def __init__(self, space: SearchSpace, kind: str, seed: int) -> None:
        generator = random.Random(seed)
        self.space = space
        self.weights = {c.path: 10 ** generator.uniform(-2, 0) for c in space.coordinates()}
        self.best = {c.path: optimum(c, kind, generator) for c in space.coordinates()}
        drawn = [self.raw(draw(space, generator)) for _ in range(300)]
        self.least = min(self.raw(self.branch(generator)) for _ in range(1_000))
        self.unit = sum(drawn) / len(drawn) - self.least

    def __call__(self, flat: dict[str, Any]) -> float:
        """Of a flat config; 0 is the least, 1 the mean of random draws."""
        return (self.raw(flat) - self.least) / self.unit

    def branch(self, generator: random.Random) -> dict[str, Any]:
        """Choices and coins at random, and the best number of what is active with them."""

        def suggest(coordinate: Coordinate) -> Any:
            number = coordinate.type != "categorical" and coordinate.split is None
            return self.best[coordinate.path] if number else draw_one(coordinate, generator)

        return self.space.walk(suggest)

    def raw(self, flat: dict[str, Any]) -> float:
        """The weighted sum over the coordinates."""
        total = 0.0
        for coordinate in self.space.coordinates():
            active = coordinate.path in flat
            off = self.distance(coordinate, flat[coordinate.path]) if active else INACTIVE
            total += self.weights[coordinate.path] * off
        return total

    def distance(self, coordinate: Coordinate, value: Any) -> float:
        """0 to about 1: squared for numbers, 0.25 for a wrong choice."""
        best = self.best[coordinate.path]
        if coordinate.type == "categorical":
            return 0.25 * (value != best)
        if coordinate.split is not None:
            return 0.25 * ((value < coordinate.split) != (best < coordinate.split))
        return (coordinate.share(value) - coordinate.share(best)) ** 2


def optimum(coordinate: Coordinate, kind: str, generator: random.Random) -> Any:
    """The best value of a coordinate."""
    spread, wrong = KINDS[kind]
    if coordinate.type == "categorical":
        others = [choice for choice in coordinate.choices if choice != coordinate.prior]
        if kind == "any":
            return generator.choice(coordinate.choices)
        away = generator.random() < wrong
        return generator.choice(others) if away else coordinate.prior
    if kind == "any":
        return coordinate.at(generator.random())
    share = coordinate.share(coordinate.prior)
    if coordinate.split is not None:
        away = generator.random() < wrong
        below = (coordinate.prior < coordinate.split) != away
        return coordinate.split / 2 if below else (1 + coordinate.split) / 2
    if kind == "misleading":
        return coordinate.at((share + 0.5) % 1.0)
    return coordinate.at(min(max(generator.gauss(share, spread), 0.0), 1.0))


def regrets(space: SearchSpace, loss: Loss, trials: int) -> list[float]:
    """The best loss after each trial of one search."""
    searcher, records, found = space.searcher.build(space), [], []
    for number in range(trials):
        params = space.prior() if number == 0 else searcher.propose(number, records)[0]
        value = loss(params)
        found.append(min([value, *found[-1:]]))
        report = {"epoch": float(space.fidelity.max), "val_rd_cost": value}
        records.append(TrialRecord("", number, params, state="finished", reports=[report]))
    return found


def main(arguments: list[str]) -> None:
    """Measure, print and record the median regrets."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks prior_sampling")
    parser.add_argument("--space", default="phase3")
    parser.add_argument("--searcher", choices=sorted(SECTIONS), default="tpe")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=max(AT))
    parser.add_argument("--settings", nargs="*", default=["off", "halves at 10"], choices=SETTINGS)
    options = parser.parse_args(arguments)
    numbers: dict[str, Any] = {"options": vars(options)}
    space = load_space(options.space, overrides=AT_ONE_LMBDA)
    at = [count for count in AT if count <= options.trials]
    print(f"{'':28}" + "".join(f"{count:>8}" for count in at) + "  trials, median regret")
    for kind in KINDS:
        for setting in options.settings:
            runs = []
            for seed in range(options.seeds):
                section = SECTIONS[options.searcher](seed=seed, **SETTINGS[setting])
                loss = Loss(space, kind, seed)
                runs.append(regrets(replace(space, searcher=section), loss, options.trials))
            medians = [round(median(run[count - 1] for run in runs), 4) for count in at]
            numbers[f"{kind}, {setting}"] = dict(zip(map(str, at), medians, strict=True))
            print(
                f"{kind + ', ' + setting:28}" + "".join(f"{m:>8.3f}" for m in medians), flush=True
            )
    write_record(f"prior_sampling_{options.searcher}", "cpu", numbers)
