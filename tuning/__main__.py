"""``python -m tuning``: look at an experiment, judge a config, or mend a ledger; see --help.

Exit codes: 0 done; 2 a mistake that the user can mend. What a command needs is imported when it
runs: torch, Ray and pandas take seconds.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from hpcm.commands.flags import add_imports
from tuning.ladders import arguments as ladder
from tuning.simulation import plan_arguments as plan
from tuning.spaces.defaults import PAGE_HOST, PAGE_PORT, STORAGE

if TYPE_CHECKING:
    from tuning.results.outcome import ExperimentResult

ALL_ROWS = 10**6
WIDE = 160  # columns, if no terminal says how many there are
UNPROTECTED = "note: a ledger of an earlier version, without checksums: a changed line is not seen"
Run: TypeAlias = "Callable[[ExperimentResult], None]"


def main(words: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    words = sys.argv[1:] if words is None else words
    if not words:
        _parser().print_help(sys.stderr)
        return 2
    flags = _parser().parse_args(words)
    from hpcm.schema import ConfigError
    from hpcm.streams import make_streams_lossless

    make_streams_lossless()
    try:
        if imports := getattr(flags, "imports", ()):
            from hpcm.parts import import_parts

            import_parts(imports)
        code = flags.command(flags)
        sys.stdout.flush()
        return code or 0
    except ConfigError as error:
        print(str(error).removeprefix("--resume "), file=sys.stderr)
        return 2
    except BrokenPipeError:  # `| head` has seen enough
        sys.stderr.close()
    return 0


def _status(result: ExperimentResult) -> None:
    from tuning.results.exported import exported_commands
    from tuning.results.tables import survival
    from tuning.spaces.wording import columns
    from tuning.watching.summary import summary_lines
    from tuning.watching.terminal import Terminal
    from tuning.watching.trial_table import trial_table

    terminal = Terminal()
    if not terminal.is_terminal and "COLUMNS" not in os.environ:
        terminal = Terminal(width=WIDE)
    space = result.info.space
    terminal.print(f"{space.kind} {result.info.name}", style="bold")
    table = trial_table([*result.trials, *result.references], space, ALL_ROWS)
    if table.row_count:
        terminal.print(table)
    lines = summary_lines(result, export=None)
    if space.ranks_trials:
        rungs = survival(result.trials, space)
        rows = [list(rungs[0]), *([str(count) for count in row.values()] for row in rungs)]
        lines = [*columns(rows), "", *lines]
    if result.complete and (commands := exported_commands(result.info.directory)):
        lines += ["", *commands]
    terminal.print("\n".join(lines), soft_wrap=True)


def _trials(result: ExperimentResult) -> None:
    from hpcm.streams import printable
    from tuning.results.tables import trials_table

    table = trials_table(result.trials, result.info.space)
    table.map(lambda cell: printable(cell) if isinstance(cell, str) else cell).to_csv(sys.stdout)


def _export(result: ExperimentResult) -> None:
    from hpcm.schema import ConfigError
    from tuning.results.export import export_best
    from tuning.watching.summary import export_lines
    from tuning.watching.terminal import Terminal

    name = f"{result.info.space.kind} {result.info.name}"
    if not result.info.space.ranks_trials:
        raise ConfigError(f"{name}: nothing to export, its runs are not ranked; must be a search")
    if result.best is None:
        raise ConfigError(f"{name}: no trial has a result, so nothing can be exported")
    lines = [name, *export_lines(export_best(result))]
    Terminal().print("\n".join(lines), soft_wrap=True)


def _of_experiment(run: Run) -> Callable[[argparse.Namespace], None]:
    def command(flags: argparse.Namespace) -> None:
        from tuning.results.tables import read_result

        result = read_result(flags.experiment, flags.storage)
        if not result.info.protected:
            print(UNPROTECTED, file=sys.stderr)
        run(result)

    return command


def _serve(flags: argparse.Namespace) -> None:
    from tuning.page.serve import serve

    serve(flags)


def _report(flags: argparse.Namespace) -> None:
    from tuning.page.report import REPORT_FILE, write_report
    from tuning.results.tables import read_result

    result = read_result(flags.experiment, flags.storage)
    path = Path(flags.output) if flags.output else result.info.directory / REPORT_FILE
    written = write_report(result, path)
    print(f"{result.info.space.kind} {result.info.name}: written {written}")


def _list(flags: argparse.Namespace) -> None:
    from tuning.page.several import list_lines
    from tuning.watching.terminal import Terminal

    Terminal().print("\n".join(list_lines(flags.storage)), soft_wrap=True)


def _compare(flags: argparse.Namespace) -> None:
    from tuning.page.report import write_comparison
    from tuning.page.several import compare_data, compare_lines
    from tuning.watching.terminal import Terminal

    data = compare_data(flags.experiments, flags.storage)
    Terminal().print("\n".join(compare_lines(data)), soft_wrap=True)
    if flags.output:
        print(f"written {write_comparison(data, Path(flags.output))}")


def _ladder(flags: argparse.Namespace) -> int:
    from tuning.ladders.command import run

    return run(flags)


def _plan(flags: argparse.Namespace) -> None:
    from tuning.simulation.plan_command import run

    run(flags)


def _salvage(flags: argparse.Namespace) -> None:
    from tuning.ledger.lines import salvage

    kept, total = salvage(Path(flags.ledger), Path(flags.output))
    print(f"{flags.output}: {kept} of {total} lines, those before the first that is damaged")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tuning", description="Look at an experiment, or mend its ledger."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, run, text in (
        ("status", _of_experiment(_status), "all trials, survival per rung, the best, the cost"),
        ("trials", _of_experiment(_trials), "all trials as CSV"),
        ("export", _of_experiment(_export), "write the best trial's run config"),
        ("serve", _serve, "the page of an experiment, live, in a browser"),
        ("report", _report, "that page as it stands, in one file to send to others"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        _add_experiment(command)
        command.set_defaults(command=run)
        if name == "serve":
            _add_address(command)
        if name == "report":
            command.add_argument(
                "-o", "--output", metavar="FILE", help="default: report.html beside the ledger"
            )
    text = "all experiments of a folder, a line each"
    command = commands.add_parser("list", help=text, description=text)
    _add_storage(command)
    command.set_defaults(command=_list)
    text = "experiments side by side: what was searched, what differs, the best over cost"
    command = commands.add_parser("compare", help=text, description=text)
    command.add_argument("experiments", nargs="+", metavar="EXPERIMENT", help="two or more")
    _add_storage(command)
    command.add_argument("-o", "--output", metavar="FILE", help="one report of them, HTML")
    command.set_defaults(command=_compare)
    for name, flags, start in (("ladder", ladder, _ladder), ("plan", plan, _plan)):
        command = commands.add_parser(
            name,
            help=flags.TEXT,
            description=f"{flags.TEXT}.",
            epilog=flags.EXAMPLE,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        flags.add_arguments(command)
        command.set_defaults(command=start)
    text = "copy the whole lines of a damaged ledger before the damage"
    command = commands.add_parser("salvage", help=text, description=text)
    command.add_argument("ledger", metavar="LEDGER", help="a ledger.jsonl that is refused")
    command.add_argument("-o", "--output", metavar="FILE", required=True, help="the copy")
    command.set_defaults(command=_salvage)
    return parser


def _add_experiment(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "experiment", metavar="EXPERIMENT|last", help="its name; last: the one that ran last"
    )
    _add_storage(command)


def _add_storage(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--storage",
        metavar="DIR",
        default=STORAGE,
        help=f"folder of all experiments (default {STORAGE})",
    )
    add_imports(command)


def _add_address(command: argparse.ArgumentParser) -> None:
    command.add_argument("--host", default=PAGE_HOST, help=f"address to listen on ({PAGE_HOST})")
    command.add_argument(
        "--port", type=int, default=PAGE_PORT, help=f"0: any that is free ({PAGE_PORT})"
    )


if __name__ == "__main__":
    sys.exit(main())
