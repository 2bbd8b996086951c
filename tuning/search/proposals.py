"""New trials: the prior first, then what the searcher proposes from the trials so far.

A proposal depends only on the ledger, while Ray's `OptunaSearch` keeps a study of its own: so a
search that was killed and resumed proposes what one that was not killed proposes, if trials run one
after the other, and Optuna never hears of a trial twice, or of a stopped one as if it were whole.

No config is tried twice, unless a trial of it failed by accident. A searcher that repeats itself is
asked once more with another seed, then a config is drawn at random.
"""

from __future__ import annotations

import itertools
import logging
import random
from collections.abc import Callable, Iterator

import numpy as np

from tuning.ledger.events import Proposed
from tuning.ledger.ledger import Ledger
from tuning.ledger.records import TrialRecord
from tuning.search.random_draws import Random
from tuning.search.searcher import PRIOR, RANDOM, Proposal, Searcher
from tuning.search.warm_start import evidence_in
from tuning.spaces.draws import combinations, draw, is_finite
from tuning.spaces.space import SearchSpace

logger = logging.getLogger(__name__)

MOST_ATTEMPTS = 5  # at one proposal of the searcher
MOST_DRAWS = 1000  # at random, after these


class Proposals:
    """What to try next. ``notify`` hears what a person should know."""

    def __init__(self, space: SearchSpace, ledger: Ledger, notify: Callable[[str], None]) -> None:
        self.space, self.ledger, self.notify = space, ledger, notify
        self.searcher: Searcher = space.searcher.build(space)
        self._earlier = evidence_in(ledger.path.parent, space)

    def next(self, number: int) -> Proposed | None:
        """The proposal of trial ``number``; None if every config was tried."""
        if number == 0:
            return Proposed(number, self.space.prior(), PRIOR)
        whole = self.searcher.exhaustive  # each of its points has one trial
        records = self.ledger.records()
        sides = self.space.sides
        tried = [sides(record.params) for record in records if whole or _counts(record)]
        for params, source in self._candidates(number):
            if sides(params) not in tried:
                return Proposed(number, params, source)
        return None

    def _candidates(self, number: int) -> Iterator[Proposal]:
        """The searcher's own proposals, then others."""
        exhaustive = self.searcher.exhaustive
        for attempt in itertools.count() if exhaustive else range(MOST_ATTEMPTS):
            proposal = self._of_searcher(number, attempt)
            if proposal is None:
                break
            yield proposal
        if exhaustive:
            return
        words = np.random.SeedSequence([self.space.searcher.seed, number]).generate_state(1)
        generator = random.Random(int(words[0]))
        if is_finite(self.space):
            left = list(combinations(self.space))
            generator.shuffle(left)
            yield from ((params, RANDOM) for params in left)
        else:
            yield from ((draw(self.space, generator), RANDOM) for _ in range(MOST_DRAWS))

    def _of_searcher(self, number: int, attempt: int) -> Proposal | None:
        """The searcher's proposal; if it breaks, which ends no search, one drawn at random."""
        known = [*self._earlier, *self.ledger.records()]
        try:
            return self.searcher.propose(number, known, attempt)
        except Exception as error:
            name = self.space.searcher.name
            self.notify(f"searcher {name} failed, trial {number} is drawn at random: {error}")
            logger.debug("searcher %s failed on trial %d", name, number, exc_info=True)
            drawn = Random(seed=self.space.searcher.seed).build(self.space)
            return drawn.propose(number, known, attempt)


def _counts(record: TrialRecord) -> bool:
    """Whether its config was tried: it did not fail by accident."""
    return record.state != "failed" or record.diverged
