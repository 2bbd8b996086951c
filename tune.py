"""Search a space: ``python tune.py --space phase3``. ``python tune.py --help`` lists the flags."""

from __future__ import annotations

import sys

from tuning.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
