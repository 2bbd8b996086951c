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
from importlib import import_module
from typing import Any

import hpcm
from hpcm.streams import escape_what_cannot_be_shown

#: Each is a module of `hpcm.commands` with ``add_arguments(parser)`` and ``run(arguments)``, which
#: returns the exit code. Only that of the command that is given is imported.
COMMANDS = {
    "train": "train one run config",
    "evaluate": "bpp, PSNR and MS-SSIM of checkpoints",
    "compare": "BD-rate of results files against an anchor",
    "inspect": "where the bits go, and the error stays",
    "compress": "images to bitstreams",
    "decompress": "bitstreams to PNG images",
    "convert": "weights to and from the authors' files",
    "data": "count, sizes and fingerprint of an image set",
    "schedule": "rates, gammas, band and term over a run",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    escape_what_cannot_be_shown()
    given = list(sys.argv[1:] if argv is None else argv)
    arguments = _parser(given[:1]).parse_args(given)
    from hpcm.evaluation.image_sets import SkippedImages

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", SkippedImages)
            warnings.showwarning = _show
            if imports := getattr(arguments, "imports", ()):
                hpcm.import_parts(imports)
            return int(arguments.run(arguments))
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
    """Of all commands, with the arguments of the one that is ``given``."""
    parser = argparse.ArgumentParser(prog="python -m hpcm", description=__doc__.split("\n")[0])
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, about in COMMANDS.items():
        command = subparsers.add_parser(name, help=about)
        if name in given:
            module = import_module(f"hpcm.commands.{name}")
            module.add_arguments(command)
            command.set_defaults(run=module.run)
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
