"""Run commands one after the other as a shell would, but import packages and start Ray once.

``python -m tests.e2e.one_process FILE``: FILE has the words of each command, as JSON, without
``python``. What each printed to stdout is written over them. It ends at the first that fails.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

import ray


def run(words: Sequence[str]) -> str:
    """What ``python words`` prints; raises SystemExit if its exit code is not 0."""
    printed = io.StringIO()
    module = words[0] == "-m"
    sys.argv = list(words[1:] if module else words)
    code: object = 0
    with contextlib.redirect_stdout(printed):
        try:
            if module:
                runpy.run_module(words[1], run_name="__main__", alter_sys=True)
            else:
                runpy.run_path(words[0], run_name="__main__")
        except SystemExit as end:
            code = end.code
    if code not in (0, None):
        sys.exit(f"python {' '.join(words)}\nended with {code}, and printed:\n{printed.getvalue()}")
    return printed.getvalue()


if __name__ == "__main__":
    file = Path(sys.argv[1])
    stop, ray.shutdown = ray.shutdown, lambda: None  # the first search starts Ray, the others join
    file.write_text(json.dumps([run(words) for words in json.loads(file.read_text())]))
    stop()
    os._exit(0)  # native code of Ray may break while the interpreter ends
