"""PB2's explore step: where a model of the population's progress promises most.

Parker-Holder et al. 2020, "Provably Efficient Online Hyperparameter Optimization with
Population-Based Bandits". What one interval of training gained is
regressed, by a Gaussian process, on when it was, on the score before it, and on the mutable values
that were used, over the unit cube (log scales as the space says). New values maximise its upper
confidence bound at the donor's epoch and score; those already given to other copies at this epoch
count as tried without a result, so that copies differ.

The kernel is that of Ray 2.60 (``pb2_utils.TV_SquaredExp``: squared exponential times a decay in
time). What is not taken from Ray: its data, which lose the first interval's scores and mix linear
with log scales; its bound, which adds the variance where the paper has the deviation; a fit
without noise that fails on equal rows; and NumPy's global generator.
"""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ray.tune.schedulers.pb2_utils import TV_SquaredExp
from sklearn.exceptions import ConvergenceWarning  # type: ignore[import-untyped]
from sklearn.gaussian_process import (  # type: ignore[import-untyped]
    GaussianProcessRegressor,
)

from tuning.ledger import Ledger
from tuning.records import TrialRecord
from tuning.spaces.coordinates import Coordinate, sampled
from tuning.spaces.draws import draw_one
from tuning.spaces.space import SearchSpace

MOST_ROWS = 200  # the newest; a fit takes seconds beyond
CANDIDATES = 2_000  # drawn evenly, of which the best is taken
NOISE = 1e-2  # variance of a gain, as a share of that of all gains
Array = NDArray[np.float64]


class Bandit:
    """Chooses the mutable values of copies; what it learns from is in the ledger."""

    def __init__(self, space: SearchSpace, ledger: Ledger) -> None:
        self.space, self.ledger = space, ledger
        self.metric = space.objective.metric
        self.sign = 1.0 if space.objective.mode == "min" else -1.0

    def explored(self, donor: TrialRecord, level: int, generator: random.Random) -> dict[str, Any]:
        """The donor's flat config with new mutable values; drawn evenly before there is a gain."""
        mutable = self._mutable(donor)
        rows, gains = self._gains(mutable, level)
        if not rows:
            new = {c.path: draw_one(c, generator) for c in mutable}
        else:
            point = [level, self._score(donor, level)]
            tried = self._given(mutable, level)
            best = choose(rows, gains, point, tried, len(mutable), generator.getrandbits(32))
            new = {c.path: c.at(float(x)) for c, x in zip(mutable, best, strict=True)}
        return self.space.walk(sampled({**donor.params, **new}))

    def _mutable(self, record: TrialRecord) -> list[Coordinate]:
        """The mutable coordinates that the record has."""
        return [c for c in self.space.coordinates() if c.mutable and c.path in record.params]

    def _gains(
        self, mutable: Sequence[Coordinate], level: int
    ) -> tuple[list[list[float]], list[float]]:
        """Every interval up to ``level`` of trials that used these values: its row, and its gain.

        A row: the epoch and the score at its start, and the values' places in [0, 1].
        """
        levels = [at for at in self.space.rungs()[:-1] if at <= level]
        rows, gains = [], []
        for start, end in zip(levels, levels[1:], strict=False):
            for record in self.ledger.records():
                params = record.params_at(end)
                if record.epochs < end or any(c.path not in params for c in mutable):
                    continue
                origin = record
                if copied := [e for e in record.exploits if e.epoch == start]:
                    origin = self.ledger.trials[copied[0].donor]
                before, after = self._score(origin, start), self._score(record, end)
                if not (math.isfinite(before) and math.isfinite(after)):
                    continue  # its reports went with its checkpoints
                rows.append([start, before, *(c.share(params[c.path]) for c in mutable)])
                gains.append((before - after) / (end - start))
        return rows[-MOST_ROWS:], gains[-MOST_ROWS:]

    def _given(self, mutable: Sequence[Coordinate], level: int) -> list[list[float]]:
        """What other trials got at ``level``."""
        return [
            [c.share(e.params[c.path]) for c in mutable]
            for record in self.ledger.records()
            for e in record.exploits
            if e.epoch == level and all(c.path in e.params for c in mutable)
        ]

    def _score(self, record: TrialRecord, level: int) -> float:
        return self.sign * record.curve(self.metric).get(level, math.nan)


def choose(
    rows: Sequence[Sequence[float]],
    gains: Sequence[float],
    point: Sequence[float],
    tried: Sequence[Sequence[float]],
    size: int,
    seed: int,
) -> Array:
    """``size`` numbers in [0, 1] with the highest upper confidence bound of the gain.

    ``rows``: epoch, score and values of each interval; ``point``: the epoch and the score of the
    interval to come; ``tried``: values that others will use in it.
    """
    context, gain = np.array(rows)[:, :2], np.array(gains)
    both = np.vstack([context, point])
    low, span = both.min(axis=0), np.ptp(both, axis=0) + 1e-12
    x = np.hstack([(context - low) / span, np.array(rows)[:, 2:]])
    y = (gain - gain.mean()) / (gain.std() + 1e-12)
    here = (np.array(point) - low) / span
    model = _fitted(x, y)
    candidates = _at(here, np.random.default_rng(seed).random((CANDIDATES, size)))
    mean = model.predict(candidates)
    if tried:  # GP-BUCB (Desautels et al. 2014): the deviation knows of them, the mean does not
        hoped = _at(here, np.array(tried))
        fixed = GaussianProcessRegressor(model.kernel_, alpha=NOISE, optimizer=None)
        model = fixed.fit(np.vstack([x, hoped]), np.concatenate([y, model.predict(hoped)]))
    deviation = model.predict(candidates, return_std=True)[1]
    weight = 0.2 + max(0.0, np.log(0.4 * len(rows)))  # beta of the authors' code
    found: Array = candidates[np.argmax(mean + np.sqrt(weight) * deviation), 2:]
    return found


def _at(context: Array, values: Array) -> Array:
    return np.hstack([np.tile(context, (len(values), 1)), values])


def _fitted(x: Array, y: Array) -> GaussianProcessRegressor:
    kernel = TV_SquaredExp(variance=1.0, lengthscale=1.0, epsilon=0.1)
    with warnings.catch_warnings():  # a hyperparameter at its bound, which is allowed
        warnings.simplefilter("ignore", ConvergenceWarning)
        return GaussianProcessRegressor(kernel, alpha=NOISE).fit(x, y)
