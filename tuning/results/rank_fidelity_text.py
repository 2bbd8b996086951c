"""How well rungs foretell the end, in words: for `status` and the summary of a search."""

from __future__ import annotations

from collections.abc import Sequence

from tuning.results.outcome import ExperimentResult
from tuning.results.rank_fidelity import LEAST_LOSERS, LEVEL, RungPair, rank_fidelity
from tuning.spaces.space import SearchSpace
from tuning.spaces.wording import ABSENT, columns, count_text, size_text

NOT_KNOWN = "not known"
HEAD = ("rung", "to", "trials", "losers", "tau-b", "losers to be kept", "regret of the cut")
TITLE = (
    f"how well rungs foretell what comes later (intervals of {100 * LEVEL:.0f} %; losers went on"
    " although they ranked low)"
)


def rank_fidelity_lines(result: ExperimentResult) -> list[str]:
    """A row for each pair of rungs, and a warning for each rung that is no better than chance."""
    space = result.info.space
    nothing = nothing_is_cut(space)
    if nothing:
        return [nothing]
    pairs = rank_fidelity(result.trials, result.rungs, space)
    if not any(pair.known for pair in pairs):
        return [_not_known(pairs, space)]
    rows = [HEAD, *(_row(pair, space) for pair in pairs)]
    return [TITLE, *columns(rows), *rank_fidelity_warnings(pairs)]


def nothing_is_cut(space: SearchSpace) -> str:
    """Why there is nothing to say of rungs; empty if a rung stops trials."""
    if space.scheduler.changes_config:
        return (
            f"rungs foretell nothing with {space.scheduler.name}: trials change their config there"
        )
    if len(space.rungs()) == 1:
        return "nothing is cut: every trial trains to the end, and no rung has to foretell it"
    return ""


def rank_fidelity_warnings(pairs: Sequence[RungPair]) -> list[str]:
    """One for each rung whose order is no better than chance, as far ahead as that is known."""
    furthest = {pair.rung: pair for pair in pairs if pair.known}
    return [
        f"warning: the order at epoch {pair.rung} foretells that at epoch {pair.to} no better than"
        f" chance, as far as {count_text(len(pair.runs), 'trial')} show: tau-b {tau_text(pair)};"
        " a higher fidelity.min would cut later"
        for pair in furthest.values()
        if pair.no_better_than_chance
    ]


def tau_text(pair: RungPair) -> str:
    """``0.62 [0.31, 0.84]``, or that it is not known."""
    tau, interval = pair.tau, pair.interval
    if not pair.known or tau is None or interval is None:
        return NOT_KNOWN
    return f"{tau:.2f} [{interval[0]:.2f}, {interval[1]:.2f}]"


def kept_text(pair: RungPair) -> str:
    """``0 of 3 [0, 54 %]``: of the losers that were watched, those that should have been kept."""
    if not pair.losers:
        return ABSENT
    low, high = pair.kept_interval
    text = f"{pair.would_be_kept} of {len(pair.losers)}"
    return f"{text} [{100 * low:.0f}, {100 * high:.0f} %]"


def regret_text(pair: RungPair, space: SearchSpace) -> str:
    """What the cut would have cost at least, in the objective's unit."""
    if not pair.known or pair.regret is None:
        return NOT_KNOWN
    return size_text(space.objective.score, pair.regret)


def _row(pair: RungPair, space: SearchSpace) -> tuple[str, ...]:
    to = f"{pair.to}, the end" if pair.to == space.fidelity.max else str(pair.to)
    counts = (str(len(pair.runs)), str(len(pair.losers)))
    return (str(pair.rung), to, *counts, tau_text(pair), kept_text(pair), regret_text(pair, space))


def _not_known(pairs: Sequence[RungPair], space: SearchSpace) -> str:
    most = max((len(pair.losers) for pair in pairs), default=0)
    lots = hasattr(space.scheduler, "control")
    how = "scheduler.control watches more" if lots else f"{space.scheduler.name} watches none"
    return (
        f"how well rungs foretell what comes later is {NOT_KNOWN}: {count_text(most, 'trial')} that"
        f" lost at a rung went on to the next, {LEAST_LOSERS} are needed ({how})"
    )
