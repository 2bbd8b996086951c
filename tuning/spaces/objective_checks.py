"""What an objective cannot compare in a search space, before anything is started."""

from __future__ import annotations

from collections.abc import Iterator

import hpcm
from tuning.spaces.documents import Problem
from tuning.spaces.sections import DELTA_RATE, Reference
from tuning.spaces.space import SearchSpace

TEST_SETS = ("kodak", "clic", "tecnick")  # begin the names of sets that results are reported on
SAMPLE = "sample"  # as start_from: shipped weights, the nearest to each lmbda


def check_objective(space: SearchSpace) -> Iterator[Problem]:
    """What could not be compared."""
    objective = space.objective
    if objective.weights == "ema" and not space.of_base("ema", "decay"):
        yield "objective.weights", "ema, but ema.decay of base is null: there is no average"
    if objective.pareto and not space.searcher.follows_pareto:
        yield (
            "objective.pareto",
            f"{list(objective.pareto)}, but {space.searcher.name} follows objective.metric alone;"
            " use nsga or tpe",
        )
    if objective.metric != DELTA_RATE:
        if objective.reference != Reference():
            yield (
                "objective.reference",
                f"only with objective.metric {DELTA_RATE}; it is {objective.metric}, leave it out",
            )
        return
    if space.scheduler.changes_config:
        yield (
            "objective.metric",
            f"{DELTA_RATE}, but under {space.scheduler.name} a config changes while it trains;"
            " use promote, asha, hyperband or fifo",
        )
    lmbdas = space.reference_lmbdas()
    if space.lmbda not in lmbdas:
        given = [float(f"{lmbda:g}") for lmbda in lmbdas]
        yield "objective.reference.lmbdas", f"{given} without the trials' own, {space.lmbda:g}"
    start = space.base.get("start_from")
    if start not in (None, SAMPLE):
        missing = [f"{x:g}" for x in lmbdas if f"{x:g}" not in objective.reference.start_from]
        if missing:
            yield (
                "objective.reference.start_from",
                f"no weights for lmbda {', '.join(missing)}: the trials start from {start}, and"
                " reference runs that all start from it make no curve",
            )


def objective_warnings(space: SearchSpace) -> Iterator[str]:
    """What is compared, but should not be."""
    val = space.of_base("data", "val", hpcm.TrainConfig().data.val)
    if isinstance(val, str) and val.split("/")[0].lower().startswith(TEST_SETS):
        yield (
            f"data.val is {val}, a test set: images that select among trials must not judge the"
            " result too; hold images of the training set out with data.holdout"
        )
