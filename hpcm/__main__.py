"""``python -m hpcm``: train, evaluate, compare, code images, and look at data, without a search.

Exit codes: 0 done; 1 broke off, on a full disk for one; 2 something the user can mend, said in one
message; 3 the run diverged; 130 interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from hpcm import ConfigError, Diverged, import_parts
from hpcm.commands import codec, compare, convert, data, evaluate, inspect, schedule, train
from hpcm.evaluation.image_sets import SkippedImages
from hpcm.streams import escape_what_cannot_be_shown

#: Each has ``add_commands(subparsers)``, which sets ``run``: parsed arguments to exit code.
COMMANDS: tuple[ModuleType, ...] = (
    train,
    evaluate,
    compare,
    inspect,
    codec,
    convert,
    data,
    schedule,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    escape_what_cannot_be_shown()
    arguments = _parser().parse_args(argv)
    with warnings.catch_warnings():
        warnings.simplefilter("always", SkippedImages)
        warnings.showwarning = _show
        try:
            import_parts(getattr(arguments, "imports", ()))
            return int(arguments.run(arguments))
        except ConfigError as error:
            print(error, file=sys.stderr)
            return 2
        except Diverged as error:
            print(f"diverged: {error.reason}", file=sys.stderr)
            return 3
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return 130
        except OSError as error:
            with contextlib.suppress(OSError):  # it may have been stderr
                print(f"broke off: {error}", file=sys.stderr)
            return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m hpcm", description=__doc__.split("\n")[0])
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in COMMANDS:
        module.add_commands(subparsers)
    return parser


_python_shows = warnings.showwarning


def _show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
    """A warning of our own kind is one line for the user; others keep their place."""
    if category.__module__.startswith("hpcm."):
        print(f"warning: {message}", file=sys.stderr)
    else:
        _python_shows(message, category, *place, **more)


if __name__ == "__main__":
    sys.exit(main())
