"""The runs on fresh seeds that a search space asks for: how many, and what cannot be confirmed."""

from __future__ import annotations

from collections.abc import Iterator

import hpcm
from tuning.spaces.documents import Problem
from tuning.spaces.draws import total_trials
from tuning.spaces.space import SearchSpace


def most_runs(space: SearchSpace) -> int:
    """Runs on fresh seeds, if there are as many finalists as are asked for."""
    top = min(space.confirm.top, total_trials(space) - 1)
    baseline = bool(space.reference_lmbdas())
    return (top + 1 + baseline) * len(space.confirm.seeds) if top else 0


def check_confirm(space: SearchSpace) -> Iterator[Problem]:
    """What cannot be confirmed, or not on these seeds."""
    if not space.confirm.top:
        return
    own = space.base.get("seed", hpcm.TrainConfig().seed)
    if own in space.confirm.seeds:
        given = list(space.confirm.seeds)
        yield "confirm.seeds", f"{given}; {own} is the search's own, give others"
    if "seed" in space.parameters:
        yield "confirm.top", f"{space.confirm.top}, but the search chooses seeds itself; must be 0"
    if space.scheduler.changes_config:
        yield (
            "confirm.top",
            f"{space.confirm.top}, but with {space.scheduler.name} a trial's values change while it"
            " trains, and one config does not repeat it; must be 0",
        )
