"""A ledger that another process writes, followed line by line, with what led to its trials.

Records say how the trials stand; kept here are the decisions at each rung, where a proposal came
from, and when things happened.
"""

from __future__ import annotations

import json
from pathlib import Path
from sys import intern
from typing import Any

from tuning.ledger import Ledger, damaged

SESSION = ("opened", "closed")


class LiveLedger(Ledger):
    """The trials as they stand; :meth:`refresh` reads on. It never writes."""

    def __init__(self, directory: Path, devices: float = 1.0) -> None:
        self.session: dict[str, Any] = {}  # the newest line that opened or closed a session
        self.sessions = 0
        self.latest = 0.0  # time of the newest line, seconds since 1970
        self.entries: dict[int, dict[int, dict[str, Any]]] = {}  # by rung, by trial: the decision
        self.history: dict[int, list[dict[str, Any]]] = {}  # by trial: its lines without reports
        self._offset = 0  # bytes of the file that are known
        super().__init__(directory, devices)

    def refresh(self) -> bool:
        """Apply what was written since the last call; whether there was anything.

        Raises :class:`hpcm.schema.ConfigError` for a damaged line.
        """
        before = self.count
        self.read_on()
        return self.count > before

    def read_on(self) -> None:
        """Apply the whole lines behind those known, each read from the disk once.

        Raises :class:`hpcm.schema.ConfigError` for a damaged line, and again at every call.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self._offset)
                *lines, _torn = file.read().split(b"\n")
        except FileNotFoundError:
            return
        for line in lines:
            known = self.count
            try:
                self._apply(json.loads(line))
            except (AttributeError, KeyError, TypeError, ValueError):
                self.count = known
                shown = line.decode(errors="backslashreplace")
                raise damaged(self.path, known + 1, shown) from None
            self._offset += len(line) + 1

    def _apply(self, line: dict[str, Any]) -> None:
        if line["event"] == "report":  # the names of thousands of reports are kept once
            line["metrics"] = {intern(name): value for name, value in line["metrics"].items()}
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
