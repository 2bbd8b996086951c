"""The lines of a ledger as plain dicts, for tests that look at what was written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tuning.ledger.ledger import LEDGER_FILE
from tuning.ledger.lines import OPENING, whole_lines


def read_lines(directory: Path) -> list[dict[str, Any]]:
    """Every whole line."""
    return [json.loads(line) for line in whole_lines(directory / LEDGER_FILE)]


def without_checksums(directory: Path) -> list[bytes]:
    """Every whole line as earlier versions wrote it."""
    return [
        line.partition(OPENING)[0] + b"}\n" if OPENING in line else line
        for line in whole_lines(directory / LEDGER_FILE)
    ]
