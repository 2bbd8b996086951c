"""`--dry-run`: what a search would do, on one screen; nothing is created."""

from __future__ import annotations

import random

from hpcm import TrainConfig
from hpcm.schema import leaves
from tuning.spaces.confirm_checks import most_runs
from tuning.spaces.draws import draw, total_trials
from tuning.spaces.space import SearchSpace
from tuning.spaces.wording import ABSENT, columns, count_text, label_line, value_text
from tuning.watching.cost import Cost

SAMPLES = 5


def size_lines(space: SearchSpace, cost: Cost) -> list[str]:
    """The first screen's account of the space: parameters, rungs, trials, cost."""
    conditional = sum(bool(parameter.when) for parameter in space.parameters.values())
    budget = space.budget
    at_a_time = f", {budget.concurrent} at a time" if budget.concurrent else ""
    each = f"{each_text(space)} each; trial 0 is the prior config"
    parameters = count_text(len(space.parameters), "parameter")
    rungs = ", ".join(map(str, space.rungs()))
    first, *more = cost.lines()
    rows = [
        ("space", f"{space.name}: {parameters}, {conditional} of them conditional"),
        ("rungs", f"{rungs} epochs; schedules end at {space.fidelity.horizon}"),
        ("trials", f"{total_trials(space)}{at_a_time}, {each}"),
        *_reference_rows(space),
        *_confirm_rows(space),
        ("cost", first),
        *(("", line) for line in more),
    ]
    return [label_line(*row) for row in rows]


def each_text(space: SearchSpace) -> str:
    """What a trial gets."""
    gpu, cpu = space.resources.gpu, space.resources.cpu
    return f"{gpu:g} GPU and {cpu:g} CPU" if gpu else f"{cpu:g} CPU"


def _reference_rows(space: SearchSpace) -> list[tuple[str, str]]:
    lmbdas = space.reference_lmbdas()
    if not lmbdas:
        return []
    earlier = space.objective.reference.experiment
    epochs = f"{len(lmbdas) * space.rungs()[-1]:,} of the epochs below"
    if earlier:
        epochs = f"those of {earlier}, at no cost"
    text = f"{len(lmbdas)} runs of the baseline, at lmbda {', '.join(f'{x:g}' for x in lmbdas)}"
    return [("reference", f"{text}; {epochs}")]


def _confirm_rows(space: SearchSpace) -> list[tuple[str, str]]:
    runs = most_runs(space)
    if not runs:
        return []
    seeds = ", ".join(map(str, space.confirm.seeds))
    baseline = bool(space.reference_lmbdas())
    top = runs // len(space.confirm.seeds) - 1 - baseline
    others = ", the prior and the baseline" if baseline else " and the prior"
    text = f"{runs} runs: the best {top}{others} again, on seeds {seeds}"
    epochs = f"{runs * space.rungs()[-1]:,} of the epochs below"
    return [("confirm", text), ("", f"{epochs}; --set confirm.top=0 leaves them out")]


def prior_lines(space: SearchSpace) -> list[str]:
    """The run config that trial 0 trains: what differs from the defaults of a run."""
    default = leaves(TrainConfig().to_plain())
    chosen = leaves(space.config(space.prior()).to_plain())
    rows = [
        [path, value_text(value)]
        for path, value in chosen.items()
        if path not in default or value != default[path]
    ]
    return columns([*rows, ["every other field", "its default"]])


def sample_lines(space: SearchSpace) -> list[str]:
    """The prior config and five random samples side by side, one row per parameter."""
    generator = random.Random(space.searcher.seed)
    drawn = [space.prior(), *(draw(space, generator) for _ in range(SAMPLES))]
    configs = [space.values(flat) for flat in drawn]
    head = ["", "prior", *(f"sample {i + 1}" for i in range(SAMPLES))]
    rows = [
        [path, *(value_text(config[path]) if path in config else ABSENT for config in configs)]
        for path in space.parameters
    ]
    return columns([head, *rows])
