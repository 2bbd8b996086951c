"""Plans of a search in words: the table, what to take, and how to run it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from hpcm.parts import import_text
from hpcm.schema import leaves
from tuning.results.train_commands import plain_text
from tuning.simulation.plan import Forecast, Plan, best_of, cheapest
from tuning.spaces.documents import SHIPPED, shipped_spaces
from tuning.spaces.space import SearchSpace
from tuning.spaces.wording import ABSENT, columns, count_text, hours_text

HEAD = ("", "plan", "trials", "rungs", "go on", "confirm", "worse than the best", "lost the best")


def plan_lines(
    space: SearchSpace,
    found: Sequence[Forecast],
    target: float | None,
    overrides: Sequence[str] = (),
) -> list[str]:
    """The table of all plans, the best one, and the cheapest that reaches the target.

    ``overrides``: with which the space was read, ``key=value``; its command has them too.
    """
    unit = "GPU" if space.resources.gpu else "CPU"
    head = (*HEAD, f"{unit}-hours", "wall-clock", f"{unit}s used")
    rows = [_row(number, one) for number, one in enumerate(found, start=1)]
    best = best_of(found)
    limit, cheap = cheapest(found, target)
    goal = f"{limit:.2f} %" + ("" if target is not None else " (the best plan and its se)")
    lines = [*columns([head, *rows]), "", *_notes(space, found), ""]
    lines.append(f"best plan: {found.index(best) + 1}, {_excess(best)} worse than the best config")
    if cheap is None:
        return [*lines, f"no plan comes to {goal} or less"]
    hours = hours_text(cheap.mean("hours"), unit)
    lines.append(f"cheapest plan that comes to {goal} or less: {found.index(cheap) + 1}, {hours}")
    return [*lines, f"  {command(space, cheap.plan, overrides)}"]


def command(space: SearchSpace, plan: Plan, overrides: Sequence[str]) -> str:
    """What runs a plan; a key of it counts more than the same one before."""
    profile = "" if space.profile == "cluster" else f" --profile {space.profile}"
    chosen = [f"{path}={plain_text(value)}" for path, value in leaves(plan.changes).items()]
    keys = [quote(key) for key in (*overrides, *chosen)]
    shipped = space.name in shipped_spaces() and Path(space.path or "").parent == SHIPPED
    name = space.name if shipped else quote(os.path.relpath(space.path or space.name))
    return f"python tune.py --space {name}{profile} --set {' '.join(keys)}{import_text()}"


def _row(number: int, one: Forecast) -> tuple[str, ...]:
    space = one.plan.space
    confirm = space.confirm
    share, (low, high) = one.lost
    factor = space.scheduler.reduction_factor
    return (
        str(number),
        one.plan.label,
        str(space.budget.trials),
        ", ".join(map(str, space.rungs())),
        f"1 in {factor}" if factor > 1 else "all",
        f"{confirm.top} x {len(confirm.seeds)}" if confirm.top else ABSENT,
        _excess(one),
        f"{100 * share:.0f} % [{100 * low:.0f}, {100 * high:.0f}]",
        f"{one.mean('hours'):,.0f}" if one.mean("hours") >= 100 else f"{one.mean('hours'):.3g}",
        _wall(one.mean("wall")),
        f"{100 * one.mean('use'):.0f} %",
    )


def _excess(one: Forecast) -> str:
    return f"{one.excess:.2f} % (se {one.error:.2f})"


def _wall(hours: float) -> str:
    if hours < 1:
        return f"{60 * hours:.0f} min"
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"


def _notes(space: SearchSpace, found: Sequence[Forecast]) -> list[str]:
    """What the numbers stand for."""
    lines = [f"searches simulated of each plan: {len(found[0].searches)}"]
    if lmbdas := space.reference_lmbdas():
        lines.append(f"every plan has {count_text(len(lmbdas), 'reference run')} to the end")
    limit = space.budget.hours
    if limit is not None and any(one.mean("wall") >= limit for one in found):
        lines.append(f"budget.hours, {limit:g}, cuts plans that take longer")
    if space.searcher.warm_start:
        lines.append("searcher.warm_start is left out of the simulations")
    return lines
