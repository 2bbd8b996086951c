"""The events of a ledger, one class per kind. Writers build them, readers match on their types.

A line of ``ledger.jsonl`` is the event's fields as JSON, with ``event`` naming its class. A line
that does not fit its class is refused: an epoch is a whole number from 1, a score is finite, a
trial is a whole number from 0.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, get_args

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

Trial: TypeAlias = Annotated[int, Field(ge=0)]
Epoch: TypeAlias = Annotated[int, Field(ge=1)]
Count: TypeAlias = Annotated[int, Field(ge=1)]
Finite: TypeAlias = Annotated[float, Field(allow_inf_nan=False)]
Plain: TypeAlias = bool | int | float | str | None
Params: TypeAlias = dict[str, Plain | list[Plain]]

FORMAT: Literal[2] = 2  # of the lines that are written now; 1 had no checksums
STRICT = ConfigDict(strict=True, extra="forbid")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Timed:
    """What all events have."""

    time: Finite = 0.0  # seconds since 1970; the ledger sets it when it writes


@dataclass(frozen=True, config=STRICT)
class Opened(Timed):
    """A session begins: no trial runs any more. ``facts``: versions and whatever is recorded.

    ``rate`` and ``quality``: the metrics of the reference curve, if trials are judged by it.
    """

    event: ClassVar[str] = "opened"
    format: Literal[1, 2] = 1
    experiment: str | None = None
    digest: str | None = None  # of the search space
    devices: Finite | None = None  # GPUs (or CPUs if there are none) that one trial holds
    resumed: bool = False
    rate: str | None = None
    quality: str | None = None
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, config=STRICT)
class Closed(Timed):
    """A session ended in order."""

    event: ClassVar[str] = "closed"
    complete: bool = False
    interrupted: bool = False
    error: str | None = None


@dataclass(frozen=True, config=STRICT)
class ClockSet(Timed):
    """The machine's clock jumped: the hours of the budget are not counted by it."""

    event: ClassVar[str] = "clock"
    jumped: Finite


@dataclass(frozen=True, config=STRICT)
class Drained(Timed):
    """A node is not used any more in this session."""

    event: ClassVar[str] = "drained"
    node: str
    host: str
    reason: str
    trials: list[Trial] = dataclasses.field(default_factory=list)


@dataclass(frozen=True, config=STRICT)
class OfTrial(Timed):
    """What all events of a trial have."""

    trial: Trial


@dataclass(frozen=True, config=STRICT)
class Proposed(OfTrial):
    """A trial exists. ``of``, ``seed``: it confirms a trial; ``lmbda``: a reference run at it."""

    event: ClassVar[str] = "proposed"
    params: Params
    source: str = ""
    of: Trial | None = None
    seed: int | None = None
    lmbda: Finite | None = None


@dataclass(frozen=True, config=STRICT)
class Started(OfTrial):
    """It has a process. ``ray_id``: Ray's name of it."""

    event: ClassVar[str] = "started"
    ray_id: str | None = None


@dataclass(frozen=True, config=STRICT)
class Report(OfTrial):
    """What it measured at the end of an epoch; a score may be NaN, and then it has failed."""

    event: ClassVar[str] = "report"
    metrics: dict[str, float]

    def __post_init__(self) -> None:
        epoch, seconds = self.metrics.get("epoch", 0.0), self.metrics.get("train/seconds", 0.0)
        if not (epoch >= 1 and float(epoch).is_integer() and 0 <= seconds < float("inf")):
            raise ValueError("a report needs a whole epoch from 1, and seconds from 0")


@dataclass(frozen=True, config=STRICT)
class RungDecision(OfTrial):
    """What was decided of it at a rung. ``control``: it goes on by lot although it lost."""

    event: ClassVar[str] = "decision"
    epoch: Epoch
    score: Finite | None  # smaller is better; None: it has none, and ranks last
    keeps: bool
    rank: Count  # 1 is the best of those there at the time, itself included
    peers: Count
    control: bool = False


@dataclass(frozen=True, config=STRICT)
class Paused(OfTrial):
    """It waits at a rung, without a device."""

    event: ClassVar[str] = "paused"
    reason: str


@dataclass(frozen=True, config=STRICT)
class Promoted(OfTrial):
    """It waited at a rung and goes on."""

    event: ClassVar[str] = "promoted"
    epoch: Epoch
    rank: Count
    peers: Count


@dataclass(frozen=True, config=STRICT)
class Exploited(OfTrial):
    """It became a changed copy of ``donor``, whose checkpoint of ``epoch`` it has."""

    event: ClassVar[str] = "exploited"
    epoch: Epoch
    donor: Trial
    params: Params


@dataclass(frozen=True, config=STRICT)
class ExploitFailed(OfTrial):
    """The copy could not be made; it goes on as itself."""

    event: ClassVar[str] = "exploit_failed"
    epoch: Epoch
    donor: Trial
    reason: str


@dataclass(frozen=True, config=STRICT)
class Suspended(OfTrial):
    """It saved and ended because the session closes."""

    event: ClassVar[str] = "suspended"


@dataclass(frozen=True, config=STRICT)
class Reopened(OfTrial):
    """It had ended and gets another chance."""

    event: ClassVar[str] = "reopened"


@dataclass(frozen=True, config=STRICT)
class Retried(OfTrial):
    """Its process broke; it is started again. ``kind``: see :mod:`tuning.ledger.failures`."""

    event: ClassVar[str] = "retried"
    reason: str
    kind: str = "exception"
    node: str | None = None


@dataclass(frozen=True, config=STRICT)
class Finished(OfTrial):
    """It reached the maximum fidelity."""

    event: ClassVar[str] = "finished"


@dataclass(frozen=True, config=STRICT)
class Stopped(OfTrial):
    """It ended before, at a rung or with the budget."""

    event: ClassVar[str] = "stopped"
    reason: str | None = None
    rung: Epoch | None = None


@dataclass(frozen=True, config=STRICT)
class Failed(OfTrial):
    """It ended without a usable result. ``diverged``: its numbers did, not its code."""

    event: ClassVar[str] = "failed"
    reason: str | None = None
    diverged: bool = False
    kind: str | None = None
    node: str | None = None


Event: TypeAlias = (
    Opened
    | Closed
    | ClockSet
    | Drained
    | Proposed
    | Started
    | Report
    | RungDecision
    | Paused
    | Promoted
    | Exploited
    | ExploitFailed
    | Suspended
    | Reopened
    | Retried
    | Finished
    | Stopped
    | Failed
)
KINDS: dict[str, type[Event]] = {kind.event: kind for kind in get_args(Event)}
OPENED_FIELDS = {field.name for field in dataclasses.fields(Opened)}


def to_line(event: Event) -> dict[str, Any]:
    """The fields of a line, in order; what is at its default is left out."""
    line: dict[str, Any] = {"event": event.event, "time": event.time}
    for field in dataclasses.fields(event):
        value = getattr(event, field.name)
        if field.name not in ("time", "facts") and value != field.default:
            line[field.name] = value
    return line | (event.facts if isinstance(event, Opened) else {})


def from_line(line: Mapping[str, Any]) -> Event:
    """The event of a line. Raises ValueError if it is none."""
    if not isinstance(line, Mapping) or line.get("event") not in KINDS or "time" not in line:
        raise ValueError("not an event")
    given = {key: value for key, value in line.items() if key != "event"}
    if line["event"] == Opened.event:
        facts = {key: given.pop(key) for key in list(given) if key not in OPENED_FIELDS}
        given["facts"] = facts
    try:
        return KINDS[line["event"]](**given)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(map(str, first["loc"]))
        raise ValueError(f"{path}: {first['msg']}" if path else first["msg"]) from None


def table() -> list[str]:
    """The kinds of events as a table in Markdown, for docs/architecture.md."""
    lines = ["| event | fields | what it says |", "| --- | --- | --- |"]
    for name, kind in KINDS.items():
        fields = [field.name for field in dataclasses.fields(kind) if field.name != "time"]
        meaning = (kind.__doc__ or "").splitlines()[0].replace("``", "`")
        lines.append(f"| `{name}` | {' '.join(f'`{field}`' for field in fields)} | {meaning} |")
    return lines
