"""What `torchrun` says to the processes that it starts: by their environment, without torch."""

from __future__ import annotations

import os


def processes() -> int:
    """How many processes it started, on all machines; 1 if it did not start this one."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def rank() -> int:
    """The number of this process among all that it started, from 0; 0 if it started none."""
    return int(os.environ["RANK"]) if processes() > 1 else 0


def number_here() -> int:
    """The number of this process on its machine, from 0: the GPU that it takes."""
    return int(os.environ["LOCAL_RANK"])


def processes_here() -> int:
    """How many processes it started on this machine."""
    return int(os.environ["LOCAL_WORLD_SIZE"])
