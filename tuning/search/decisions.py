"""The answers of a search: to a report, to a broken process, and to what is next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

Notify: TypeAlias = Callable[[str], None]  # tells a person


def silent(text: str) -> None:
    """Nobody hears it."""


class Decision(Enum):
    """What becomes of a trial after a report."""

    GO_ON = "go on"
    WAIT = "wait"  # without a device, until the search starts it again
    STOP = "stop"
    FINISH = "finish"  # it reached the maximum fidelity
    FAIL = "fail"

    @property
    def ends_process(self) -> bool:
        """Whether the trial's process is to end."""
        return self is not Decision.GO_ON


class Idle(Enum):
    """There is no trial to start."""

    NOT_NOW = "nothing now"  # a running trial may yet bring one
    OVER = "over"


@dataclass(frozen=True)
class Start:
    """Start this trial, or continue it from its newest checkpoint."""

    trial: int
    params: Mapping[str, Any]  # its flat config
    seed: int | None = None  # replaces the space's own; None: it does not
    lmbda: float | None = None  # of a reference run; None: it is none


@dataclass(frozen=True)
class Retry:
    """Whether a trial whose process broke is started again; :meth:`Search.next` then gives it."""

    restarts: bool
    elsewhere: bool = False  # it must wait for another node
