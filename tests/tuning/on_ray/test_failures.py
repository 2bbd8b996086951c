"""Classes of failures: what is recognised as which, and how often each is retried."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    NodeDiedError,
    OutOfMemoryError,
    RayActorError,
    RayTaskError,
)

from hpcm.ranks import RankLostError
from tests.tuning.lr_space import METRIC, kill, open_ledger
from tuning.ledger.events import Proposed, Report, Retried
from tuning.ledger.failures import KINDS, POLICIES, Failure, renew
from tuning.ledger.ledger import Ledger
from tuning.ledger.records import TrialRecord
from tuning.on_ray.diagnosis import (
    KilledForMemoryError,
    NodeUnfitError,
    StoreAwayError,
    diagnose,
)
from tuning.on_ray.private_api import as_process_death, patched_actor_manager
from tuning.search.retries import may_retry

DEAD = "The actor died unexpectedly before finishing this task.\n\tactor_id: 1\n"
NODE = "The actor died because its node has died. Node Id: 5b\n\tthe actor's node was "
KILLED = "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR"


def task_error(cause: Exception) -> RayTaskError:
    """What Ray gives the driver for an exception in a trial."""
    return RayTaskError("train", f"Traceback ..\n{cause}", cause)


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (RayActorError(error_msg=DEAD + KILLED), "killed", "its process died"),
        (ActorDiedError(), "killed", "its process died"),
        (RayActorError(error_msg=DEAD + NODE + "terminated unexpectedly"), "node_lost", "its node"),
        (ActorUnavailableError("connection error", None), "node_lost", "its node was lost"),
        (RayActorError(error_msg=DEAD + NODE + "preempted: spot"), "preempted", "reclaimed"),
        (RayActorError(error_msg=DEAD, preempted=True), "preempted", "reclaimed"),
        (KilledForMemoryError(error_msg="12 GB"), "memory", "Ray ended its process"),
        (task_error(MemoryError("no room")), "memory", "MemoryError: no room"),
        (
            task_error(RuntimeError("DefaultCPUAllocator: can't allocate memory")),
            "memory",
            "DefaultCPUAllocator",
        ),
        (task_error(torch.OutOfMemoryError("CUDA out of memory.")), "device_memory", "CUDA out of"),
        (task_error(RuntimeError("CUDA error: out of memory")), "device_memory", "CUDA error"),
        (task_error(RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when")), "device_memory", "CUBLAS"),
        (task_error(RuntimeError("CUDA error: an illegal address")), "exception", "illegal"),
        (task_error(RuntimeError("a cosmic\n  ray")), "exception", "RuntimeError: a cosmic ray"),
        (task_error(NodeUnfitError("torch is 2.8")), "node_unfit", "torch is 2.8"),
        (task_error(RankLostError("process 1 of this run broke: x")), "killed", "process 1 of"),
        (task_error(StoreAwayError("403")), "store", "checkpoints did not answer: 403"),
        (
            ActorDiedError(
                task_error(StoreAwayError("tuning.on_ray.diagnosis.StoreAwayError: 403"))
            ),
            "store",
            "the place of the checkpoints did not answer: 403",
        ),
        (task_error(OSError("No space left on device")), "exception", "OSError: No space left"),
        (
            ActorDiedError(task_error(ImportError("no module named tuning"))),
            "exception",
            "its process did not start: no module named tuning",
        ),
        (None, "exception", "see error.txt"),
    ],
)
def test_what_ray_raises_has_a_class(error: Exception | None, kind: str, text: str) -> None:
    found = diagnose(error, "see error.txt")
    assert found.kind == kind
    assert text in found.text
    assert "\n" not in found.text
    assert len(found.text) <= 300


def test_every_class_says_what_it_costs() -> None:
    assert tuple(POLICIES) == KINDS
    for kind, policy in POLICIES.items():
        trial = TrialRecord("rates-x-0001", 1, {})
        while may_retry(trial, Failure(kind, "")):
            trial.failures[kind] = trial.failures.get(kind, 0) + 1
        assert trial.failures[kind] == policy.retries
        renew(trial.failures)
        assert (kind in trial.failures) is not policy.renewed


def test_the_page_lists_every_class() -> None:
    rows = (Path(__file__).parents[3] / "docs" / "failures.md").read_text().splitlines()
    listed = [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows if "| `" in row]
    times = {1: "once"}
    assert listed == [
        [
            f"`{kind}`",
            policy.text,
            times.get(policy.retries, f"{policy.retries} times"),
            "anew after each new epoch" if policy.renewed else "in all",
        ]
        for kind, policy in POLICIES.items()
    ]


def test_what_cannot_be_helped_by_another_start_is_bounded() -> None:
    """A trial that is lost with its nodes is not to blame; one that hangs or does not fit is."""
    assert POLICIES["preempted"].renewed
    assert POLICIES["node_lost"].renewed
    assert not POLICIES["hung"].renewed
    assert (POLICIES["hung"].retries, POLICIES["device_memory"].retries) == (1, 1)


def test_the_ledger_counts_by_class_and_a_new_epoch_gives_some_back(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.append(Proposed(0, params={}))
    for kind in ("node_lost", "device_memory", "exception"):
        ledger.append(Retried(0, kind=kind, reason=kind))
    trial = ledger.trials[0]
    assert trial.failures == {"node_lost": 1, "device_memory": 1, "exception": 1}
    assert (trial.retries, trial.needs_whole_gpu) == (3, True)
    assert trial.crash == "exception"
    ledger.append(Report(0, metrics={"epoch": 1.0, METRIC: 1.0, "train/seconds": 3600.0}))
    assert (trial.failures, trial.crash) == ({"device_memory": 1}, "")
    assert trial.cost_hours == 1.0
    ledger.append(Report(0, metrics={"epoch": 2.0, METRIC: 1.0}))
    ledger.append(Retried(0, kind="node_lost", reason="again"))
    ledger.append(Report(0, metrics={"epoch": 1.0, METRIC: 1.0}))  # repeated: nothing new
    assert (trial.failures["node_lost"], trial.furthest, trial.epochs) == (1, 2, 1)
    kill(ledger)
    assert Ledger(ledger.path.parent).trials[0] == trial  # a resume goes on counting


def test_a_quarter_of_a_gpu_costs_a_whole_one_once_it_is_alone(tmp_path: Path) -> None:
    directory = tmp_path / "rates-x"
    directory.mkdir()
    ledger = Ledger(directory, devices=0.25)
    ledger.open()
    ledger.append(Proposed(0, params={}))
    hour = {METRIC: 1.0, "train/seconds": 3600.0}
    ledger.append(Report(0, metrics={"epoch": 1.0, **hour}))
    ledger.append(Retried(0, kind="device_memory", reason="CUDA out of memory"))
    ledger.append(Report(0, metrics={"epoch": 2.0, **hour}))
    assert ledger.trials[0].cost_hours == 1.25
    ledger.close()


@pytest.mark.parametrize(
    ("error", "kind"),
    [(OutOfMemoryError("Task was killed"), "memory"), (NodeDiedError("gone"), "killed")],
)
def test_what_tune_cannot_handle_becomes_the_death_of_a_process(
    error: Exception, kind: str
) -> None:
    """Stock Tune ends the whole search with "Caught unexpected exception"."""
    heard: list[Exception] = []

    def hear(tracked: Any, given: Exception) -> None:
        heard.append(given)

    tracked = SimpleNamespace(actor_id=1, _on_error=hear)
    task = SimpleNamespace(_tracked_actor=tracked, _on_error=None)
    manager = SimpleNamespace(_failed_actor_ids=set(), _cleanup_actor=lambda tracked_actor: None)
    with pytest.raises(RuntimeError, match="Caught unexpected exception"):
        RayActorManager._actor_task_failed(manager, tracked_actor_task=task, exception=error)
    with patched_actor_manager():
        RayActorManager._actor_task_failed(manager, tracked_actor_task=task, exception=error)
        RayActorManager._actor_start_failed(manager, tracked_actor=tracked, exception=error)
    assert [diagnose(given).kind for given in heard] == [kind, kind]
    with pytest.raises(RuntimeError, match="Caught unexpected exception"):
        RayActorManager._actor_task_failed(manager, tracked_actor_task=task, exception=error)


@pytest.mark.parametrize("error", [RayActorError(), task_error(ValueError("x")), ValueError("x")])
def test_what_tune_can_handle_stays_as_it_is(error: Exception) -> None:
    assert as_process_death(error) is error
