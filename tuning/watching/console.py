"""What is shown while a search runs: a live table on a terminal, a line per event elsewhere.

A terminal that calls itself dumb cannot redraw, so it counts as elsewhere.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import TextIO

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hpcm.streams import printable
from tuning.ledger.folders import command_text
from tuning.ledger.records import LOCAL, ExperimentInfo, TrialRecord
from tuning.results.outcome import at_common_epoch, best_of
from tuning.spaces.confirm_checks import most_runs
from tuning.spaces.draws import total_trials
from tuning.spaces.space import SearchSpace
from tuning.spaces.wording import (
    clock_text,
    count_text,
    difference_text,
    label_line,
    metric_name,
    metric_text,
)
from tuning.watching.progress import Progress
from tuning.watching.terminal import Terminal, lead_nowhere
from tuning.watching.trial_table import trial_table

ROWS_AROUND = 8  # lines of the screen that are not trials: header, borders, footer
FEWEST_ROWS = 5


class Console:
    """The one place that writes to the user's terminal while a search runs.

    ``start`` once Ray is up, ``update`` with every change of the trials, ``stop`` at the end,
    whatever the end is: on a terminal it gives the cursor back.
    """

    def __init__(self, stream: TextIO | None = None, terminal: bool | None = None) -> None:
        self.rich = Terminal(file=stream, force_terminal=terminal)
        self._live: Live | None = None
        self._info: ExperimentInfo | None = None
        self._progress: Progress | None = None
        self._trials: list[TrialRecord] = []
        self._started = time.monotonic()

    def say(self, text: str = "", style: str = "") -> None:
        """One or more lines, above the table if there is one."""
        self.rich.print(text, style=style, soft_wrap=True)

    def start(self, info: ExperimentInfo, trials: Sequence[TrialRecord]) -> None:
        """Show where the experiment lives; ``trials`` are those of an earlier start."""
        space = info.space
        self._info, self._started = info, time.monotonic()
        self._progress = Progress(space)
        self._progress.skip(trials)
        for line in opening_lines(info, trials):
            self.say(line)
        self.say()
        if self.rich.is_terminal and not self.rich.is_dumb_terminal:
            self._live = Live(
                get_renderable=self._screen, console=self.rich, refresh_per_second=2
            )  # a screen takes 25 ms of the driver's time
            self._live.start()
        self.update(trials)

    def update(self, trials: Sequence[TrialRecord]) -> None:
        """Show the trials as they stand now."""
        self._trials = list(trials)
        if self._live or self._progress is None:
            return
        clock = clock_text(time.monotonic() - self._started)
        for line in self._progress.lines(trials):
            self.say(f"{clock}  {line}")

    def leave_terminal(self) -> None:
        """The terminal was closed: drop all output, for each write to it would be an error."""
        if self.rich.is_terminal:
            lead_nowhere(1, 2)
            self.stop()

    def stop(self) -> None:
        """Leave the last table standing and give the terminal back."""
        if self._live:
            self._live.stop()
            self._live = None

    def _screen(self) -> RenderableType:
        if self._info is None:
            return Text()
        space = self._info.space
        rows = max(FEWEST_ROWS, self.rich.height - ROWS_AROUND)
        elapsed = time.monotonic() - self._started
        return Group(
            _head(self._info, self._trials, elapsed), trial_table(self._trials, space, rows)
        )


def opening_lines(info: ExperimentInfo, trials: Sequence[TrialRecord]) -> list[str]:
    """Where the experiment lives, what is already done, and how to look at Ray's dashboard."""
    lines = [label_line(info.space.kind, f"{info.name} in {info.storage}")]
    if info.resumed:
        ended = sum(trial.ended for trial in trials if trial.role == "search")
        text = f"{ended} of {count_text(total_trials(info.space), 'trial')} had ended"
        lines.append(label_line("resumed", text))
    if info.dashboard_url:
        token = f" (token: {info.token_hint})" if info.token_hint else ""
        lines.append(label_line("dashboard", f"{info.dashboard_url}{token}"))
    has = ", ".join(f"{int(info.resources.get(kind, 0))} {kind}" for kind in ("CPU", "GPU"))
    address = "started here, on loopback alone" if info.address == LOCAL else info.address
    lines.append(label_line("ray", f"{address}: {has}"))
    if info.idle:
        lines.append(label_line("idle", info.idle))
    return [*lines, label_line("page", command_text("python -m tuning serve", info.directory))]


def _head(info: ExperimentInfo, trials: Sequence[TrialRecord], elapsed: float) -> RenderableType:
    """One line: how far, what runs, the best so far against the prior."""
    space = info.space
    runs = [trial for trial in trials if trial.role == "confirm"]
    total = total_trials(space)
    ended = sum(trial.ended for trial in trials if trial.role == "search")
    count = Counter(trial.status for trial in trials)
    text = Text.assemble(
        (printable(info.name), "bold"),
        f"  {ended}/{count_text(total, 'trial')}, {count['running']} running, "
        f"{count['stopped']} stopped early",
        f", {count['waiting']} waiting at rungs" if count["waiting"] else "",
        (f", {count['failed']} failed" if count["failed"] else "", "red"),
        f", confirming {sum(run.ended for run in runs)}/{most_runs(space)}" if runs else "",
        f"  {clock_text(elapsed)}",
    )
    line = Table.grid(padding=(0, 2), expand=False)
    line.add_row(ProgressBar(total=total, completed=ended, width=20), text)
    return Group(line, _best_line(trials, space))


def _best_line(trials: Sequence[TrialRecord], space: SearchSpace) -> Text:
    best, metric = best_of(trials, space), space.objective.score
    if not space.ranks_trials:
        return Text("its curves are compared once all runs have ended", style="dim")
    if best is None:
        return Text("no result yet", style="dim")
    prior = next((trial for trial in trials if trial.is_prior), None)
    shown, its = at_common_epoch(best, prior, metric)
    value, epoch = metric_text(metric, shown[metric]), int(shown["epoch"])
    text = f"best: trial {best.number}, {metric_name(metric)} {value} at epoch {epoch}"
    if not best.is_prior and metric in its:
        text += f", {difference_text(metric, shown[metric], its[metric])} against the prior"
    return Text(text, style="green")
