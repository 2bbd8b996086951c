"""Search a space: ``python tune.py --space phase3``. ``python tune.py --help`` lists the flags."""

from __future__ import annotations

import sys


def run() -> int:
    """`tune.py`; gives the exit code. Ctrl-C during the imports, which take seconds, is one too."""
    try:
        if {"-h", "--help"} & set(sys.argv[1:]):  # before torch and Ray are imported
            from tuning.flags import flag_parser

            flag_parser().print_help()
            return 0
        from tuning.cli import main

        return main(sys.argv[1:])
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(run())
