"""New trials: the prior first, then what the searcher proposes from the trials so far.

A proposal depends on the ledger alone, where Ray's `OptunaSearch` keeps a study of its own: so a
search that was killed and resumed proposes what one that was not killed proposes, if trials run one
after the other, and Optuna never hears of a trial twice, or of a stopped one as if it were whole.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tuning.ledger.events import Proposed
from tuning.ledger.ledger import Ledger
from tuning.search.optuna_encoder import OptunaEncoder
from tuning.search.samplers import PRIOR, propose
from tuning.search.warm_start import evidence_in
from tuning.spaces.draws import grid
from tuning.spaces.searcher_sections import Grid, Random
from tuning.spaces.space import SearchSpace

logger = logging.getLogger(__name__)


class Proposals:
    """What to try next. ``notify`` hears what a person should know."""

    def __init__(self, space: SearchSpace, ledger: Ledger, notify: Callable[[str], None]) -> None:
        self.space, self.ledger, self.notify = space, ledger, notify
        self.encoder = OptunaEncoder(space)
        self._earlier = evidence_in(ledger.path.parent, space)
        self._points = iter(grid(space)) if isinstance(space.searcher, Grid) else None

    def next(self, number: int) -> Proposed:
        """The proposal of trial ``number``."""
        if number == 0:
            return Proposed(number, self.space.prior(), PRIOR)
        if self._points is not None:
            tried = [record.params for record in self.ledger.records()]
            return Proposed(number, next(p for p in self._points if p not in tried), Grid.name)
        params, source = self._drawn(number)
        return Proposed(number, params, source)

    def _drawn(self, number: int) -> tuple[dict[str, Any], str]:
        """The searcher's proposal; if it breaks, which ends no search, one drawn at random."""
        known = [*self._earlier, *self.ledger.records()]
        try:
            return propose(self.space, self.encoder, number, known)
        except Exception as error:
            name = self.space.searcher.name
            self.notify(f"searcher {name} failed, trial {number} is drawn at random: {error}")
            logger.debug("searcher %s failed on trial %d", name, number, exc_info=True)
            at_random = Random(seed=getattr(self.space.searcher, "seed", 0))
            space = replace(self.space, searcher=at_random)
            return propose(space, self.encoder, number, known)
