"""``python -m hpcm``: train, evaluate, compare, code images, and look at data, without a search.

Exit codes: 0 done; 1 broke off, for example on a full disk; 2 a mistake that the user can mend;
3 the run diverged; 130 interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import hpcm
from hpcm import torchrun
from hpcm.commands.flags import COMMANDS
from hpcm.streams import make_streams_lossless


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    make_streams_lossless()
    given = list(sys.argv[1:] if argv is None else argv)
    arguments = _parser(given[:1]).parse_args(given)
    from hpcm.evaluation.image_sets import SkippedImages

    try:
        if torchrun.processes() > 1 and arguments.command != "train":
            raise hpcm.ConfigError(
                f"torchrun: {arguments.command} is for one process, only train for several: "
                f"python -m hpcm {arguments.command}"
            )
        with warnings.catch_warnings():
            warnings.simplefilter("always", SkippedImages)
            warnings.showwarning = _show
            if imports := getattr(arguments, "imports", ()):
                hpcm.import_parts(imports)
            command = import_module(f"hpcm.commands.{arguments.command}")
            return int(command.run(arguments))
    except hpcm.ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except OSError as error:
        with contextlib.suppress(OSError):  # it may have been stderr
            print(f"broke off: {error}", file=sys.stderr)
        return 1
    except hpcm.Diverged as error:
        print(f"diverged: {error.reason}", file=sys.stderr)
        return 3


def _parser(given: Sequence[str]) -> argparse.ArgumentParser:
    """The parser of all commands, with the arguments of the one that is ``given``."""
    parser = argparse.ArgumentParser(prog="python -m hpcm", description=__doc__.split("\n")[0])
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    for name, (about, add_flags) in COMMANDS.items():
        command = subparsers.add_parser(name, help=about)
        if name in given:
            add_flags(command)
    return parser


_python_shows = warnings.showwarning


def _show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
    """A warning of our own kind is one line for the user; others keep their place."""
    if category.__module__.startswith("hpcm."):
        process = f"process {torchrun.rank()}: " if torchrun.rank() else ""
        print(f"{process}warning: {message}", file=sys.stderr)
    else:
        _python_shows(message, category, *place, **more)


if __name__ == "__main__":
    sys.exit(main())
