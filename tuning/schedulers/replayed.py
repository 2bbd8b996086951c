"""Schedulers that judge every report in turn, and are rebuilt by judging the ledger's again.

For rules whose state is not worth a record of its own, and for objects of others that cannot be
stored soundly: the ledger has every report in the order in which it was judged.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Protocol

from ray.tune.schedulers import TrialScheduler

from tuning.ledger import Ledger, read_events
from tuning.records import Entry, TrialRecord
from tuning.schedulers.epoch_scheduler import EpochScheduler
from tuning.spaces.space import SearchSpace


@dataclass(frozen=True)
class Verdict:
    """What a judge says of one report; at a rung, also how the trial stands there."""

    reason: str | None  # to stop the trial; None: it goes on
    rank: int = 0  # 1 is the best of those there at the time, itself included; 0: no rung
    peers: int = 0  # trials there at the time, itself included


class Judge(Protocol):
    """A rule that hears every epoch of every trial once, in the order of their reports."""

    def judge(self, trial: int, epoch: int, score: float) -> Verdict:
        """Whether the trial goes on; a smaller score is better."""


class ReplayedScheduler(EpochScheduler):
    """A judge's decisions. The prior, trial 0, goes on always: comparisons need it to the end."""

    def __init__(self, space: SearchSpace, ledger: Ledger, judge: Judge) -> None:
        super().__init__(space, ledger)
        self.judge = judge
        self._newest: dict[int, tuple[int, Verdict]] = {}  # by trial: epoch, and what was said
        for event in read_events(ledger.path.parent):
            if event["event"] == "report" and ledger.trials[event["trial"]].of is None:
                self._hear(event["trial"], event["metrics"])

    def decide(self, record: TrialRecord, before: int, epoch: int, score: float) -> str:
        """What the judge says, or said when it first heard of this epoch."""
        self._hear(record.number, {"epoch": epoch, self.metric_name: self.sign * score})
        heard, verdict = self._newest[record.number]
        if heard != epoch:  # trained again after a crash; it was judged further on
            return str(TrialScheduler.CONTINUE)
        goes = verdict.reason is None or record.is_prior
        if verdict.rank and record.number not in self.ledger.rungs.get(epoch, {}):
            entry = Entry(record.number, score, goes, verdict.rank, verdict.peers)
            facts = {key: value for key, value in asdict(entry).items() if key != "trial"}
            self.ledger.append("decision", record.number, epoch=epoch, **facts)
        if goes:
            return str(TrialScheduler.CONTINUE)
        return self._end(record, "stopped", rung=epoch, reason=verdict.reason)

    def _hear(self, number: int, metrics: dict[str, float]) -> None:
        """Let the judge hear a report, if it is healthy, new to it, and not the last."""
        value, epoch = metrics.get(self.metric_name, math.nan), int(metrics["epoch"])
        heard = self._newest[number][0] if number in self._newest else 0
        if math.isfinite(value) and heard < epoch < self.rungs[-1]:
            self._newest[number] = epoch, self.judge.judge(number, epoch, self.sign * value)
