"""What is known of an experiment and its trials, as plain data for console, export and analysis.

Records are made only from the ledger (:mod:`tuning.ledger.ledger`), so they say the same
while a search runs, after it, and after a resume.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tuning.ledger.events import Failed, Finished, Retried, RungDecision, Stopped
from tuning.spaces.space import SearchSpace

SIMULATED = "simulated"  # as an address, and the fact of a ledger that names the source of curves
LOCAL = "local"  # as an address: a Ray on this machine only, started by the search itself
Role = Literal["search", "confirm", "reference"]
TrialState = Literal["pending", "running", "stopped", "finished", "failed"]


@dataclass(frozen=True)
class Exploit:
    """A trial became a changed copy of another one."""

    epoch: int  # the copied checkpoint's; the trial goes on from here
    donor: int  # number of the trial that was copied
    params: dict[str, Any]  # the trial's from here on
    before: dict[str, Any]  # the trial's up to here


@dataclass
class TrialRecord:
    """One trial as it stands.

    ``pending``: proposed and not running, because it waits or because the experiment was
    interrupted. ``stopped``: cut by the scheduler, or by the end of the budget. ``finished``:
    reached the maximum fidelity. ``failed``: diverged, or crashed more often than it may be
    retried; ``reason`` says which.
    """

    id: str  # <experiment>-<number>, unique for good: a resume keeps it
    number: int  # order of proposal; 0 is the prior
    params: dict[str, Any]  # flat config, what SearchSpace.walk gave: {"optimizer.lr": 2.4e-4, ..}
    source: str = ""  # of the params: prior, prior_sample, random, the searcher's name, confirm
    confirms: int | None = None  # with confirm: the trial whose config is trained again
    seed: int | None = None  # with confirm: on this seed
    lmbda: float | None = None  # of a reference run, whose params are paths of config fields
    state: TrialState = "pending"
    reports: list[dict[str, float]] = field(default_factory=list)  # one per epoch, ascending
    rung_stopped_at: int | None = None  # epoch of the rung that stopped it
    reason: str | None = None  # of a stop, a failure or the last retry, one line
    diverged: bool = False  # failed because its numbers did, not its code
    kind: str | None = None  # of its failure; None: the trial itself gave the reason
    paused: bool = False  # pending, with a checkpoint at a rung, until it is promoted
    retries: int = 0  # times it was started again after a failure
    failures: dict[str, int] = field(
        default_factory=dict
    )  # these, by tuning/ledger/failures.py's classes
    crash: str = ""  # the last exception since a new epoch, and the node where it came
    crashed_on: str = ""
    furthest: int = 0  # epochs that were ever reached; after a crash some are repeated
    seconds: float = 0.0  # training time, epochs repeated after a crash included
    cost_hours: float = 0.0  # GPU-hours, or CPU-hours if trials use no GPU

    exploits: list[Exploit] = field(default_factory=list)  # under pbt, ascending

    @property
    def role(self) -> Role:
        """Why it exists."""
        if self.lmbda is not None:
            return "reference"
        return "search" if self.confirms is None else "confirm"

    @property
    def is_prior(self) -> bool:
        """Whether this is the hand-tuned config."""
        return self.number == 0

    @property
    def epochs(self) -> int:
        """Epochs reported so far."""
        return int(self.reports[-1]["epoch"]) if self.reports else 0

    @property
    def last(self) -> dict[str, float]:
        """The newest report, empty before the first."""
        return self.reports[-1] if self.reports else {}

    def scored(self, metric: str) -> dict[str, float]:
        """The newest report that has ``metric``; empty before. Not every epoch is validated."""
        return next((report for report in reversed(self.reports) if metric in report), {})

    @property
    def ended(self) -> bool:
        """Whether nothing more will be reported."""
        return self.state in ("stopped", "finished", "failed")

    @property
    def status(self) -> str:
        """``state`` as a person sees it: one that waits at a rung is not merely pending."""
        return "waiting" if self.paused else self.state

    @property
    def needs_whole_gpu(self) -> bool:
        """Whether it ran out of the memory of a shared GPU, and so gets a whole one."""
        return "device_memory" in self.failures

    def report_at(self, epoch: int) -> dict[str, float] | None:
        """Its report of an epoch; None if it has none."""
        index = bisect_left(self.reports, float(epoch), key=lambda report: report["epoch"])
        found = self.reports[index] if index < len(self.reports) else None
        return found if found is not None and found["epoch"] == epoch else None

    def params_at(self, epoch: int) -> dict[str, Any]:
        """The flat config with which the trial trained ``epoch``."""
        later = (exploit.before for exploit in self.exploits if exploit.epoch >= epoch)
        return next(later, self.params)

    def reopen(self) -> None:
        """It has not ended after all."""
        self.state, self.rung_stopped_at, self.reason = "pending", None, None

    def retry(self, event: Retried) -> None:
        """Its process broke, and another one is to continue it."""
        self.state, self.reason = "pending", event.reason
        self.retries += 1
        self.failures[event.kind] = self.failures.get(event.kind, 0) + 1
        if event.kind == "exception":
            self.crash, self.crashed_on = event.reason, event.node or ""

    def end(self, event: Finished | Stopped | Failed) -> None:
        """It has ended."""
        self.paused = False
        self.diverged, self.kind, self.reason, self.rung_stopped_at = False, None, None, None
        match event:
            case Finished():
                self.state = "finished"
            case Stopped():
                self.state, self.reason, self.rung_stopped_at = "stopped", event.reason, event.rung
            case Failed():
                self.state, self.reason = "failed", event.reason
                self.diverged, self.kind = event.diverged, event.kind

    def curve(self, metric: str) -> dict[int, float]:
        """The reported values of ``metric`` by epoch."""
        return {int(r["epoch"]): r[metric] for r in self.reports if metric in r}


@dataclass(frozen=True, slots=True)
class RungEntry:
    """One trial at one rung, as it was decided there, or promoted later."""

    trial: int
    score: float  # smaller is better; inf: it has none, and ranks last
    keeps: bool  # whether it went on
    rank: int  # 1 is the best of those there at the time, itself included
    peers: int  # trials there at the time, itself included
    control: bool = False  # went on by lot, although it lost

    @classmethod
    def of(cls, event: RungDecision) -> RungEntry:
        """The entry that a decision made."""
        score = math.inf if event.score is None else event.score
        return cls(event.trial, score, event.keeps, event.rank, event.peers, event.control)

    def decision(self, epoch: int) -> RungDecision:
        """The event that makes this entry at the rung of ``epoch``."""
        score = self.score if math.isfinite(self.score) else None
        return RungDecision(
            self.trial, epoch, score, self.keeps, self.rank, self.peers, self.control
        )


@dataclass(frozen=True)
class ExperimentInfo:
    """Where an experiment lives and how it was started."""

    name: str  # <space>-<date>-<time>
    directory: Path  # <storage>/<name>: Ray's results, ledger.jsonl, study.journal, checkpoints/
    space: SearchSpace
    resumed: bool
    dashboard_url: str | None  # of Ray; None if it has none
    token_hint: str | None  # the command that prints the dashboard's token, if it wants one
    address: str  # "local", or the address of the cluster
    resources: dict[str, float]  # what the cluster has now: {"CPU": 2.0, ..}
    idle: str = ""  # GPUs that it leaves idle, and why: "24 of 32 GPUs: .."
    trials: Mapping[int, TrialRecord] = field(default_factory=dict)  # live, by number
    drained: Sequence[str] = ()  # live; nodes that were drained, and why
    protected: bool = True  # a changed line of its ledger would be seen
    simulated: str = ""  # the source of its curves; "" if its trials trained
    study: str = ""  # what optuna-dashboard opens, without a password; "" if there is none

    @property
    def storage(self) -> Path:
        """The folder of all experiments."""
        return self.directory.parent
