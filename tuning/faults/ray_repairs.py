"""What Ray Tune 2.60 does wrong where a search must live on, put right while a search runs.

Each repair is named after what it keeps from happening, and has a test that fails without it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import OutOfMemoryError, RayActorError, RayError, RayTaskError

from tuning.faults.diagnosis import KilledForMemoryError


@contextlib.contextmanager
def a_killed_trial_ends_no_search() -> Iterator[None]:
    """A process that Ray's memory monitor kills fails its trial.

    Ray gives the driver `OutOfMemoryError` for it, which is no `RayActorError`; Tune's actor
    manager takes that for impossible and ends the whole search with a `RuntimeError`
    (`RayActorManager._actor_task_failed`). Where it happens while the process starts, the trial
    fails, and no exception is kept.
    """
    task, start = RayActorManager._actor_task_failed, RayActorManager._actor_start_failed

    def task_failed(self: Any, tracked_actor_task: Any, exception: Exception) -> None:
        task(self, tracked_actor_task, as_process_death(exception))

    def start_failed(self: Any, tracked_actor: Any, exception: Exception) -> None:
        start(self, tracked_actor, as_process_death(exception))

    RayActorManager._actor_task_failed = task_failed
    RayActorManager._actor_start_failed = start_failed
    try:
        yield
    finally:
        RayActorManager._actor_task_failed = task
        RayActorManager._actor_start_failed = start


def as_process_death(error: Exception) -> Exception:
    """``error`` as Tune can handle it: as the death of an actor where it is neither that nor ours.

    All others are given back as they are.
    """
    if isinstance(error, RayActorError | RayTaskError) or not isinstance(error, RayError):
        return error
    kind = KilledForMemoryError if isinstance(error, OutOfMemoryError) else RayActorError
    death: Exception = kind(error_msg=f"{type(error).__name__}: {error}")
    return death
