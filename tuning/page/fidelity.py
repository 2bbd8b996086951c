"""What the page shows of how well rungs foretell the end (:mod:`tuning.results.rank_fidelity`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tuning.ledger.records import TrialRecord
from tuning.results.rank_fidelity import LEAST_LOSERS, RungPair, Rungs, rank_fidelity
from tuning.results.rank_fidelity_text import (
    kept_text,
    nothing_is_cut,
    rank_fidelity_warnings,
    regret_text,
    tau_text,
)
from tuning.spaces.space import SearchSpace


def fidelity_data(
    trials: Sequence[TrialRecord], rungs: Rungs, space: SearchSpace
) -> dict[str, Any]:
    """Every pair of rungs, and of a rung and the end; ``nothing``: why there is none."""
    nothing = nothing_is_cut(space)
    pairs = [] if nothing else rank_fidelity(trials, rungs, space)
    return {
        "nothing": nothing,
        "least": LEAST_LOSERS,
        "warnings": rank_fidelity_warnings(pairs),
        "pairs": [_pair(pair, space) for pair in pairs],
    }


def _pair(pair: RungPair, space: SearchSpace) -> dict[str, Any]:
    return {
        "rung": pair.rung,
        "to": pair.to,
        "end": pair.to == space.fidelity.max,
        "trials": len(pair.runs),
        "losers": len(pair.losers),
        "tau": pair.tau if pair.known else None,
        "interval": pair.interval if pair.known else None,
        "tau_text": tau_text(pair),
        "kept_text": kept_text(pair),
        "regret_text": regret_text(pair, space),
    }
