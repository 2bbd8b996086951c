"""``python -m tuning``: look at an experiment (status, trials, export, serve), run an ablation.

Exit codes: 0 done; 2 something the user can mend, said in one message.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from rich.console import Console

from hpcm.schema import ConfigError
from hpcm.streams import escape_what_cannot_be_shown
from tuning.ablation import command as ablation
from tuning.ledger import folders as places
from tuning.page import serve
from tuning.results.export import export_best
from tuning.results.outcome import ExperimentResult
from tuning.results.tables import read_result, survival_table, trials_table
from tuning.watching.summary import export_lines, summary_lines
from tuning.watching.trial_table import trial_table

ALL_ROWS = 10**6
WIDE = 160  # columns, where no terminal says how many there are


def main(words: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    escape_what_cannot_be_shown()
    words = sys.argv[1:] if words is None else words
    if not words:
        _parser().print_help(sys.stderr)
        return 2
    flags = _parser().parse_args(words)
    try:
        flags.command(flags)
    except ConfigError as error:
        print(str(error).removeprefix("--resume "), file=sys.stderr)
        return 2
    return 0


def _status(result: ExperimentResult) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDE)
    space = result.info.space
    console.print(trial_table(result.trials, space, ALL_ROWS))
    print(survival_table(result.trials, space).to_string(), end="\n\n")
    print("\n".join(summary_lines(result, export=None)))


def _trials(result: ExperimentResult) -> None:
    trials_table(result.trials, result.info.space).to_csv(sys.stdout)


def _export(result: ExperimentResult) -> None:
    if result.best is None:
        raise ConfigError(f"{result.info.name}: no trial has a result, so nothing can be exported")
    print("\n".join(export_lines(export_best(result))))


def _of_experiment(run: Callable[[ExperimentResult], None]) -> Callable[[argparse.Namespace], None]:
    return lambda flags: run(read_result(flags.experiment, flags.storage))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tuning", description="Look at an experiment, or run an ablation."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, run, told in (
        ("status", _status, "all trials, survival per rung, the best beside the prior, the cost"),
        ("trials", _trials, "all trials as CSV"),
        ("export", _export, "write the best trial's run config, as tune.py does at its end"),
    ):
        command = commands.add_parser(name, help=told, description=told)
        command.add_argument(
            "experiment", metavar="EXPERIMENT|last", help="its name; last: the one that ran last"
        )
        command.add_argument(
            "--storage",
            metavar="DIR",
            default=places.DEFAULT_STORAGE,
            help=f"folder of all experiments (default {places.DEFAULT_STORAGE})",
        )
        command.set_defaults(command=_of_experiment(run))
    ablation.add_commands(commands)
    serve.add_commands(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
