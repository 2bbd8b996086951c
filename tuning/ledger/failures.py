"""Classes of failures of a trial's process, and what is done about each: data.

Ray 2.60 knows one number for all of them, `max_failures`: a trial on reclaimed spot nodes uses it
up, and one whose error is certain is trained into it again and again. What a trial itself says of
its end (diverged, refused) has no class: it is not retried.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal[
    "preempted",
    "node_lost",
    "node_unfit",
    "store",
    "killed",
    "memory",
    "device_memory",
    "hung",
    "exception",
]
REFUSED = "refused: "  # begins the reason of a trial whose config or data were refused
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Policy:
    """What a class of failures costs a trial, and its node."""

    text: str  # what happened, as the ledger and the summary say it
    retries: int  # times that a trial is started again after it
    renewed: bool  # whether a new epoch gives all of them back
    blames_node: bool  # whether it counts towards draining the node, see tuning/on_ray/nodes.py


POLICIES: dict[Kind, Policy] = {
    "preempted": Policy("its node was reclaimed", 8, True, False),
    "node_lost": Policy("its node was lost", 8, True, False),
    "node_unfit": Policy("its node does not fit", 8, True, True),
    "store": Policy("the place of the checkpoints did not answer", 8, True, False),
    "killed": Policy("its process died (killed, or a crash in native code)", 2, True, True),
    "memory": Policy("out of main memory", 2, True, False),
    "device_memory": Policy("out of GPU memory", 1, False, False),  # once more, alone on its GPU
    "hung": Policy("hung", 1, False, True),
    "exception": Policy("crashed", 2, True, True),  # the same one twice in a row: none
}


@dataclass(frozen=True)
class Failure:
    """One failure of one trial's process."""

    kind: Kind
    text: str  # one line

    @property
    def policy(self) -> Policy:
        """What is done about it."""
        return POLICIES[self.kind]


def renew(failures: MutableMapping[str, int]) -> None:
    """Forget the failures that are forgiven after an epoch that was never reached before."""
    for kind in KINDS:
        if POLICIES[kind].renewed:
            failures.pop(kind, None)
