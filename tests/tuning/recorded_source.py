"""A finished search as the source of a simulation: its own reports, by config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tuning.ledger.records import TrialRecord


class RecordedSource:
    """What the trials of a search reported. Raises KeyError for a config that was not tried."""

    def __init__(self, trials: Sequence[TrialRecord]) -> None:
        self._reports = {
            (*trial.params.items(), int(report["epoch"])): report
            for trial in trials
            for report in trial.reports
        }

    def report(self, params: Mapping[str, Any], seed: int, epoch: int) -> Mapping[str, float]:
        return self._reports[(*params.items(), epoch)]

    def seconds(self, params: Mapping[str, Any], epoch: int) -> float:
        return self._reports[(*params.items(), epoch)].get("train/seconds", 1.0)


def decisions(trials: Sequence[TrialRecord]) -> list[tuple[Any, ...]]:
    """What was proposed and what became of it."""
    return [
        (t.number, t.source, t.params, t.state, t.rung_stopped_at, t.reason, t.epochs)
        for t in trials
    ]
