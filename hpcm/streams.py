"""Standard streams that can show anything."""

from __future__ import annotations

import io
import sys


def escape_what_cannot_be_shown() -> None:
    """Let stdout and stderr escape characters that their encoding lacks, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
