"""What a scheduler cannot do in a search space, before anything is started."""

from __future__ import annotations

from collections.abc import Iterator

from hpcm.schema import leaves
from tuning.spaces.documents import Problem
from tuning.spaces.scheduler_sections import Fifo, Hyperband, Pbt, Retired
from tuning.spaces.space import SearchSpace

PATIENCE = "early_stopping.patience"


def check_scheduler(space: SearchSpace) -> Iterator[Problem]:
    """What the scheduler would have to ignore."""
    section, fidelity = space.scheduler, space.fidelity
    match section:
        case Fifo() if fidelity.min != type(fidelity)().min:
            yield "fidelity.min", f"{fidelity.min}, but fifo has no rungs; leave it out"
        case Retired():
            yield "scheduler.name", f"{section.name} is gone; use {section.instead}"
        case Pbt():
            yield from _check_population(space, section)


def _check_population(space: SearchSpace, section: Pbt) -> Iterator[Problem]:
    if not any(coordinate.mutable for coordinate in space.coordinates()):
        yield (
            "scheduler.name",
            f"{section.name}, but no parameter is mutable: it could change nothing; write"
            " `mutable: true` on parameters that may change during a run",
        )
    if space.budget.trials < 2:
        yield (
            "budget.trials",
            f"{space.budget.trials}; {section.name} needs a population of 2 or more",
        )
    if space.confirm.top:
        yield (
            "confirm.top",
            f"{space.confirm.top}, but under {section.name} a config changes while it trains: there"
            " is none to train again; leave confirm out",
        )
    if len(space.rungs()) < 2:
        yield (
            "fidelity.min",
            f"{space.fidelity.min}, which is fidelity.max: {section.name} compares every"
            " fidelity.min epochs, which would be never",
        )
    if PATIENCE in space.parameters or leaves(space.base).get(PATIENCE):
        yield (
            "scheduler.name",
            f"{section.name}, but {PATIENCE} may end a training for good, and a copy of it could"
            " not go on; leave it at 0",
        )


def scheduler_warnings(space: SearchSpace) -> Iterator[str]:
    """What the scheduler does, but is probably not meant."""
    section, fidelity, rungs = space.scheduler, space.fidelity, space.rungs()
    if len(rungs) > 1:
        factor = getattr(section, "reduction_factor", None)
        if factor is not None and rungs[-2] * factor != rungs[-1]:
            yield (
                f"fidelity.max is {fidelity.max}, which is not {fidelity.min} * {factor}^k:"
                f" the last rung is short ({rungs[-2]} to {rungs[-1]})"
            )
        if factor is None and fidelity.max % fidelity.min:
            yield (
                f"fidelity.max is {fidelity.max}, which is not a multiple of {fidelity.min}:"
                f" the last interval is short ({rungs[-2]} to {rungs[-1]})"
            )
    if isinstance(section, Hyperband):
        whole = sum(section.sizes(len(rungs) - 1))
        if space.budget.trials < whole:
            yield (
                f"budget.trials is {space.budget.trials}, but one round of hyperband's brackets has"
                f" {whole}: those with the fewest halvings are left out"
            )
