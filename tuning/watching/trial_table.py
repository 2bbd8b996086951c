"""The live table of trials: rows in the order that interests, as one rich renderable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from rich import box
from rich.table import Table

from tuning.ledger.records import TrialRecord
from tuning.results.image_error import ImageErrors
from tuning.results.outcome import best_of
from tuning.spaces.space import SearchSpace
from tuning.spaces.wording import ABSENT, UNITS, clock_text, metric_name, metric_text
from tuning.watching.progress import ended_text, tries_text

WIDTHS = {  # of the columns, at least
    "trial": 5,
    "epoch": 7,
    "objective": 8,
    "± images": 8,
    "vs prior": 8,
    "bpp": 6,
    "PSNR": 5,
    "time": 7,
    "state": 14,
}
RANKING = ("objective", "± images", "vs prior")  # of a search; costs of a ladder do not compare
STYLES = {"running": "cyan", "finished": "green", "stopped": "dim", "failed": "red"}


def trial_table(trials: Sequence[TrialRecord], space: SearchSpace, height: int) -> Table:
    """The running trials, then the ended ones from best to worst, in ``height`` rows."""
    metric = space.objective.score
    best = best_of(trials, space)
    errors = ImageErrors(space, [trial for trial in trials if trial.role == "reference"])
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0), expand=True)
    names = [name for name in WIDTHS if space.ranks_trials or name not in RANKING]
    for name in names:
        heading = metric_name(metric) if name == "objective" else name
        justify: Literal["left", "right"] = "left" if name == "state" else "right"
        table.add_column(heading, justify=justify, no_wrap=True, min_width=WIDTHS[name])
    table.add_column("what it tries", ratio=1, no_wrap=True, overflow="ellipsis")
    shown = sorted(begun(trials), key=lambda trial: _interest(trial, space))
    for trial in shown[:height]:
        style = "bold green" if trial is best else STYLES.get(trial.state, "")
        cells = _cells(trial, trials, space, errors)
        tries = ended_text(trial, space.rungs()) if trial.state == "failed" else ""
        table.add_row(
            *(cells[name] for name in names), tries or tries_text(trial, space), style=style
        )
    if len(shown) > height:
        table.add_row(*[""] * len(names), f"and {len(shown) - height} more", style="dim")
    return table


def begun(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Those that have a row: they run, have ended, or were interrupted after a report."""
    return [trial for trial in trials if trial.status != "pending" or trial.epochs]


def _interest(trial: TrialRecord, space: SearchSpace) -> tuple[float, ...]:
    objective = space.objective
    value = trial.scored(objective.score).get(objective.score)
    score = float("inf") if value is None else objective.sign * value
    if trial.state == "running":
        return (0, trial.number, 0)
    if not space.ranks_trials:
        score = trial.number
    return (2 if trial.state == "failed" else 1, -trial.epochs, score)


def _cells(
    trial: TrialRecord, trials: Sequence[TrialRecord], space: SearchSpace, errors: ImageErrors
) -> dict[str, str]:
    metric, rungs = space.objective.score, space.rungs()
    last = trial.scored(metric) or trial.last
    prior = next((other for other in trials if other.is_prior), None)
    reference = prior.curve(metric).get(int(last.get("epoch", 0))) if prior else None
    value = last.get(metric)
    state = f"rung {rungs.index(trial.epochs) + 1}" if trial.epochs in rungs else ""
    return {
        "trial": str(trial.number),
        "epoch": f"{trial.epochs}/{rungs[-1]}",
        "objective": metric_text(metric, value, unit=False),
        "± images": errors.text(last).removeprefix(" ± "),
        "vs prior": _relative(metric, value, reference) if not trial.is_prior else "",
        "bpp": metric_text("val_bpp", last.get("val_bpp"), unit=False),
        "PSNR": metric_text("val_psnr", last.get("val_psnr"), unit=False),
        "time": clock_text(trial.seconds),
        "state": f"{trial.state} {state}" if trial.state == "stopped" else trial.status,
    }


def _relative(metric: str, value: float | None, reference: float | None) -> str:
    if value is None or reference is None:
        return ABSENT
    if metric in UNITS:
        return f"{value - reference:+.2f}{UNITS[metric]}"
    if not reference:
        return ABSENT
    return f"{100 * (value / reference - 1):+.1f} %"
