"""A ladder in words: what will be trained and what it costs, and where the results are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from hpcm.config import TrainConfig
from tuning.ladders.evaluation import TestSet
from tuning.ledger.folders import command_text
from tuning.ledger.records import TrialRecord
from tuning.results.ladder import FOLDER
from tuning.results.train_commands import differences
from tuning.spaces.ladder_space import LadderSpace
from tuning.spaces.wording import columns, count_text, hours_text, label_line, value_text

MOST_SHOWN = 12  # fields in which two configs differ


def plan_lines(
    space: LadderSpace,
    runs: Sequence[TrialRecord],
    sets: Sequence[TestSet],
    seconds: float | None,
    name: str | None = None,
) -> list[str]:
    """What a start would train, on what it would be judged, and the hours.

    ``name``: of the experiment that goes on; None: it is new.
    """
    by_run = {tuple(run.params.items()): run for run in runs}
    all_runs = [by_run.get(tuple(flat.items())) for flat in space.runs()]
    ended = [run for run in all_runs if run is not None and run.ended]
    epochs = sum(
        space.fidelity.max - (run.epochs if run else 0) for run in all_runs if run not in ended
    )
    counts = (
        f"{count_text(len(space.names), 'config')} x {len(space.lmbdas)} lmbda x"
        f" {count_text(len(space.seeds), 'seed')}: {count_text(len(all_runs), 'run')} of"
        f" {count_text(space.fidelity.max, 'epoch')}"
    )
    done = f", {len(ended)} of them done" if ended else ""
    rate = "bytes" if any(one.real for one in sets) else "estimated rate"
    images = ", ".join(f"{one.images.name} ({one.images.count})" for one in sets)
    rows = [
        (space.kind, name or f"new, {space.names[-1]} against {space.names[0]}"),
        ("runs", f"{counts}{done}"),
        ("lmbda", ", ".join(f"{lmbda:g}" for lmbda in sorted(space.lmbdas))),
        ("seeds", ", ".join(map(str, space.seeds))),
        *_config_rows(space),
        ("start", _start_text(space)),
        ("judged on", f"{images}; {rate}" if images else "nothing"),
        ("cost", _cost_text(space, epochs, seconds)),
    ]
    return [label_line(*row) for row in rows]


def _config_rows(space: LadderSpace) -> list[tuple[str, str]]:
    """The anchor, and in what the other differs from it."""
    (anchor, first), *others = space.ladder.configs.items()
    rows = [("against", f"{anchor}, digest {TrainConfig.from_plain(first, anchor).digest}")]
    for name, plain in others:
        config = TrainConfig.from_plain(plain, name)
        rows.append(("config", f"{name}, digest {config.digest}; differs from {anchor} in"))
        found = [f"{path} {value_text(value)}" for path, value in differences(first, plain).items()]
        more = [f"and {len(found) - MOST_SHOWN} more fields"] if len(found) > MOST_SHOWN else []
        rows += [("", text) for text in [*found[:MOST_SHOWN], *more] or ["nothing"]]
    return rows


def _start_text(space: LadderSpace) -> str:
    if weights := space.ladder.start_from:
        return ", ".join(f"lmbda {lmbda}: {name}" for lmbda, name in weights.items())
    starts = {name: plain["start_from"] for name, plain in space.ladder.configs.items()}
    texts = {start or "random weights" for start in starts.values()}
    if len(texts) == 1:
        return texts.pop()
    return ", ".join(f"{name}: {start or 'random weights'}" for name, start in starts.items())


def _cost_text(space: LadderSpace, epochs: int, seconds: float | None) -> str:
    if not epochs:
        return "no epoch to train"
    unit = "GPU" if space.resources.gpu else "CPU"
    text = count_text(epochs, "epoch")
    if seconds is None:
        return f"{text}; this machine cannot measure how long one takes"
    hours = hours_text(epochs * seconds * space.resources.devices / 3600, unit)
    return f"{text}, {hours} by {seconds:.1f} s an epoch measured here; scoring not counted"


def final_lines(directory: Path) -> list[str]:
    """Where the results are, and what can be done next."""
    more = f"{command_text('python -m tuning ladder --resume', directory)} --lmbdas X --seeds N"
    report = f"{command_text('python -m tuning report', directory)} -o {quote(directory.name)}.html"
    rows = [
        ("curves, plot, table", str(directory / FOLDER)),
        ("one more lmbda or seed", more),
        ("report", report),
    ]
    return ["", *columns(rows)]
