"""What becomes of a trial whose process broke, decided on fake trials without Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.tuning.on_ray.broken_trials import FULL, KILLED, LOST, Play, Staging
from tuning.faults import recovery as module
from tuning.ledger.events import Paused, Started
from tuning.on_ray.diagnosis import KilledForMemoryError


def test_an_exception_is_tried_three_times_in_all(play: Play) -> None:
    for attempt in range(2):
        play.fail(1, RuntimeError(f"a cosmic ray {attempt}"))
        assert (play.ledger.trials[1].state, play.stopped) == ("pending", [])
    play.fail(1, RuntimeError("a third"))
    trial = play.ledger.trials[1]
    assert (trial.state, trial.diverged) == ("failed", False)
    assert trial.reason == "crashed: RuntimeError: a third (started 3 times)"
    assert play.stopped == [1]  # Ray would start it again for ever
    assert [e["kind"] for e in play.events("failed")] == ["exception"]


def test_the_same_exception_twice_is_certain(play: Play) -> None:
    play.nodes = ["n1"]
    play.fail(1, RuntimeError("a cosmic ray"), node="n1")
    play.fail(1, RuntimeError("a cosmic ray"), node="n1")
    reason = "the same error twice, not tried again: RuntimeError: a cosmic ray"
    assert (play.ledger.trials[1].state, play.ledger.trials[1].reason) == ("failed", reason)
    assert play.stopped == [1]


def test_with_an_epoch_in_between_it_is_not(play: Play) -> None:
    play.propose(1)
    for epoch in range(1, 9):
        play.report(1, epoch)
        play.fail(1, RuntimeError("a cosmic ray"))
    play.report(1, 7)  # repeated from a checkpoint: nothing new
    assert play.ledger.trials[1].state == "pending"
    play.fail(1, RuntimeError("a cosmic ray"))
    assert play.ledger.trials[1].state == "failed"


def test_the_same_exception_twice_on_one_node_may_be_the_nodes(play: Play) -> None:
    """The third start waits for another one, although none is free."""
    play.busy = {"n2"}
    assert play.fail(1, RuntimeError("ECC"), node="n1").resources is None
    trial = play.fail(1, RuntimeError("ECC"), node="n1")
    assert trial.resources._bound.arguments["bundle_label_selector"] == [
        {"ray.io/node-id": "!in(n1)"}
    ]
    play.fail(1, RuntimeError("ECC"), node="n2")
    assert (play.ledger.trials[1].reason or "").startswith("the same error twice")


def test_lost_nodes_do_not_use_up_the_retries_of_a_trial_that_advances(play: Play) -> None:
    play.propose(1)
    for epoch in range(1, 30):
        play.report(1, epoch)
        play.fail(1, LOST)
    assert (play.ledger.trials[1].state, play.ledger.trials[1].retries) == ("pending", 29)
    for _ in range(7):
        play.fail(1, LOST)
    assert play.ledger.trials[1].state == "pending"
    play.fail(1, LOST)  # nine without a new epoch
    assert play.ledger.trials[1].reason == "its node was lost (started 37 times)"
    assert play.stopped == [1]


def test_classes_do_not_use_up_one_another(play: Play) -> None:
    for time in ("once", "twice"):
        for error in (LOST, KILLED, RuntimeError(time), KilledForMemoryError(error_msg="m")):
            play.fail(1, error)
    assert play.ledger.trials[1].failures == {
        "node_lost": 2,
        "killed": 2,
        "exception": 2,
        "memory": 2,
    }
    assert play.stopped == []


def test_out_of_gpu_memory_beside_others_is_retried_alone_on_a_gpu(quarter: Play) -> None:
    trial = quarter.fail(1, FULL)
    assert quarter.ledger.trials[1].state == "pending"
    assert trial.resources.bundles == [{"CPU": 1.0, "GPU": 1.0}]
    assert quarter._resources_to_pending_trials == {"stock": set(), trial.resources: {trial}}
    again = quarter.propose(1)  # promoted or resumed later: a new trial to Ray
    quarter.recovery.place(quarter, again)  # type: ignore[arg-type]
    assert again.resources.bundles == [{"CPU": 1.0, "GPU": 1.0}]
    other = quarter.propose(2)
    quarter.recovery.place(quarter, other)  # type: ignore[arg-type]
    assert other.resources is None
    quarter.fail(1, FULL)
    reason = quarter.ledger.trials[1].reason or ""
    assert reason.startswith("out of GPU memory with a whole GPU: data.batch_size 32, data.patch ")
    assert quarter.stopped == [1]


@pytest.mark.parametrize("gpu", [1, 2])
def test_out_of_memory_of_a_whole_gpu_is_certain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpu: int
) -> None:
    monkeypatch.setattr(module, "node_of", lambda actor: None)
    play = Play(tmp_path, resources={"gpu": gpu, "cpu": 1})
    play.fail(1, FULL)
    assert play.ledger.trials[1].state == "failed"
    assert play.stopped == [1]
    play.ledger.close()


def test_a_hung_trial_is_retried_once(play: Play) -> None:
    for state in ("pending", "failed"):
        play.propose(1)
        play.recovery.hung(1, "hung: no report for 0:30:01")
        play.fail(1, KILLED)  # what Ray says of a process that we killed
        assert play.ledger.trials[1].state == state
    assert play.ledger.trials[1].reason == "hung: no report for 0:30:01 (started 2 times)"
    play.fail(2, KILLED)
    assert play.events("retried")[-1]["kind"] == "killed"


def test_what_dies_while_the_experiment_closes_did_not_fail(play: Play) -> None:
    """`scancel` kills every process of a job; twice, and a third time would be the end."""
    (play.ledger.path.parent / "closing").touch()
    for _ in range(4):
        play.fail(1, KILLED, node="n1")
    assert (play.ledger.trials[1].state, play.ledger.trials[1].failures) == ("pending", {})
    assert play.stopped == [1, 1, 1, 1]  # nothing is started any more
    assert len(play.events("suspended")) == 4


def test_an_error_that_is_not_at_hand_is_no_older_one(play: Play, tmp_path: Path) -> None:
    """Ray leaves the file of the failure before where the new one is of another kind."""
    trial = play.fail(1, RuntimeError("the first"))
    play.recovery.failed(trial)  # type: ignore[arg-type]
    assert play.events("retried")[-1]["reason"] == "Ray could not run it: no reason recorded"
    told = tmp_path / "error.txt"
    told.write_text(
        "Failure # 1 (occurred at 9:43)\nold\nFailure # 2 (occurred at 9:44)\n\nnew\nx\n"
    )
    trial.error_file = str(told)
    Path(trial.pickled_error_file).write_bytes(b"\x80\x05cnowhere\nGone\n.")
    play.recovery.failed(trial)  # type: ignore[arg-type]
    reason = play.ledger.trials[1].reason or ""
    assert reason == "crashed: Ray could not run it: new (started 3 times)"


def test_a_kill_that_came_too_late_is_no_reason_of_the_next_failure(play: Play) -> None:
    trial = play.propose(1)
    play.recovery.hung(1, "hung: no report for 0:30:01")  # and its last report arrives
    play.recovery.place(play, trial)  # type: ignore[arg-type]
    play.fail(1, KILLED)
    assert [line["kind"] for line in play.events("retried")] == ["killed"]


@pytest.mark.parametrize("ending", ["finished", "stopped", "failed"])
def test_what_breaks_while_ray_ends_a_trial_changes_nothing(play: Play, ending: str) -> None:
    play.propose(1)
    play.report(1, 1)
    play.ledger.append(ending, 1)
    before = play.events("retried"), play.events("failed")
    play.fail(1, RuntimeError("no space left for Ray's files"))
    assert (play.events("retried"), play.events("failed")) == before
    assert (play.ledger.trials[1].state, play.stopped) == (ending, [1])


def test_what_breaks_while_ray_ends_a_trial_that_waits_does_not_start_it_again(play: Play) -> None:
    """It would train past its rung, and be promoted on top of that."""
    play.propose(1)
    play.report(1, 1)
    play.ledger.append(Paused(1, reason="waits at epoch 1"))
    play.fail(1, RuntimeError("no space left for Ray's files"))
    assert (play.events("retried"), play.events("failed"), play.stopped) == ([], [], [1])
    assert play.ledger.trials[1].paused
    play.ledger.append(Started(1))  # promoted
    play.fail(1, KILLED)
    assert [line["kind"] for line in play.events("retried")] == ["killed"]
    assert play.stopped == [1]


def test_a_process_is_starting_once_ray_has_room_for_it(staging: Staging) -> None:
    trial: Any = staging.propose(1)
    assert staging.recovery.starting(trial) is None  # Ray has not named it yet
    staging.recovery.place(staging, trial)
    staging._pending_trials.add(trial)
    staging._pending_trials_list.append(trial)
    staging.step()
    assert staging.recovery.starting(trial) is None  # it waits for room
    tracked = staging._trial_to_actor[trial]
    staging._actor_manager._live_actors_to_ray_actors_resources[tracked] = ("actor", "room")
    assert staging.recovery.starting(trial) == "actor"
    trial.status = "RUNNING"
    assert staging.recovery.starting(trial) is None
