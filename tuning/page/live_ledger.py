"""A ledger that another process writes, followed line by line, with what led to its trials.

Records say how the trials stand; kept here are the decisions at each rung, where a proposal came
from, and when things happened.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tuning.ledger import Ledger

SESSION = ("opened", "closed")


class LiveLedger(Ledger):
    """The trials as they stand; :meth:`refresh` reads on. It never writes."""

    def __init__(self, directory: Path, devices: float = 1.0) -> None:
        self.session: dict[str, Any] = {}  # the newest line that opened or closed a session
        self.sessions = 0
        self.latest = 0.0  # time of the newest line, seconds since 1970
        self.entries: dict[int, dict[int, dict[str, Any]]] = {}  # by rung, by trial: the decision
        self.history: dict[int, list[dict[str, Any]]] = {}  # by trial: its lines without reports
        super().__init__(directory, devices)

    def refresh(self) -> bool:
        """Apply what was written since the last call; whether there was anything.

        Raises :class:`hpcm.schema.ConfigError` for a damaged line.
        """
        before = self.count
        self.read_on()
        return self.count > before

    def _apply(self, line: dict[str, Any]) -> None:
        super()._apply(line)
        event = line["event"]
        self.latest = line["time"]
        if event in SESSION:
            self.session = line
            self.sessions += event == "opened"
        if "trial" in line and event != "report":
            self.history.setdefault(line["trial"], []).append(line)
        if event == "decision":
            self.entries.setdefault(line["epoch"], {})[line["trial"]] = line
        elif event == "promoted":
            self.entries[line["epoch"]][line["trial"]]["promoted"] = line["time"]
