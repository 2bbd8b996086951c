"""What becomes of a trial whose process broke, decided on fake trials without Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.tuning.lr_space import lr_space
from tests.tuning.on_ray.broken_trials import FULL, KILLED, LOST, FakeTrial, Play, Staging
from tuning.ledger.events import (
    Failed,
    Finished,
    OfTrial,
    Opened,
    Paused,
    Proposed,
    Started,
    Stopped,
)
from tuning.ledger.failures import Failure
from tuning.ledger.ledger import Ledger
from tuning.on_ray.diagnosis import KilledForMemoryError
from tuning.search.decisions import Start
from tuning.search.search import Search
from tuning.search.sessions import open_session, reference_metrics


def test_an_exception_is_tried_three_times_in_all(play: Play) -> None:
    for attempt in range(2):
        assert play.fail(1, RuntimeError(f"a cosmic ray {attempt}")) == {}
        assert play.ledger.trials[1].state == "pending"
    assert play.fail(1, RuntimeError("a third")) is None
    trial = play.ledger.trials[1]
    assert (trial.state, trial.diverged) == ("failed", False)
    assert trial.reason == "crashed: RuntimeError: a third (started 3 times)"
    assert [e["kind"] for e in play.events("failed")] == ["exception"]


def test_the_same_exception_twice_is_certain(play: Play) -> None:
    play.nodes = ["n1"]
    assert play.fail(1, RuntimeError("a cosmic ray"), node="n1") == {}
    assert play.fail(1, RuntimeError("a cosmic ray"), node="n1") is None
    reason = "the same error twice, not tried again: RuntimeError: a cosmic ray"
    assert (play.ledger.trials[1].state, play.ledger.trials[1].reason) == ("failed", reason)


def test_with_an_epoch_in_between_it_is_not(play: Play) -> None:
    for epoch in range(1, 9):
        play.report(1, epoch)
        assert play.fail(1, RuntimeError("a cosmic ray")) == {}
    play.report(1, 7)  # repeated from a checkpoint: nothing new
    assert play.fail(1, RuntimeError("a cosmic ray")) is None
    assert play.ledger.trials[1].state == "failed"


def test_the_same_exception_twice_on_one_node_may_be_the_nodes(play: Play) -> None:
    """The third start waits for another one, although none is free."""
    play.busy = {"n2"}
    assert play.fail(1, RuntimeError("ECC"), node="n1") == {}
    assert play.fail(1, RuntimeError("ECC"), node="n1") == {"avoid": ["n1"]}
    assert play.fail(1, RuntimeError("ECC"), node="n2") is None
    assert (play.ledger.trials[1].reason or "").startswith("the same error twice")


def test_lost_nodes_do_not_use_up_the_retries_of_a_trial_that_advances(play: Play) -> None:
    for epoch in range(1, 30):
        play.report(1, epoch)
        assert play.fail(1, LOST) == {}
    assert (play.ledger.trials[1].state, play.ledger.trials[1].retries) == ("pending", 29)
    for _ in range(7):
        assert play.fail(1, LOST) == {}
    assert play.fail(1, LOST) is None  # nine without a new epoch
    assert play.ledger.trials[1].reason == "its node was lost (started 37 times)"


def test_classes_do_not_use_up_one_another(play: Play) -> None:
    for time in ("once", "twice"):
        for error in (LOST, KILLED, RuntimeError(time), KilledForMemoryError(error_msg="m")):
            assert play.fail(1, error) == {}
    assert play.ledger.trials[1].failures == {
        "node_lost": 2,
        "killed": 2,
        "exception": 2,
        "memory": 2,
    }


def test_out_of_gpu_memory_beside_others_is_retried_alone_on_a_gpu(quarter: Play) -> None:
    assert quarter.fail(1, FULL) == {"gpu": 1.0}
    assert quarter.recovery.placement(1) == {"gpu": 1.0}  # promoted or resumed later
    assert quarter.recovery.placement(2) == {}
    assert quarter.fail(1, FULL) is None
    reason = quarter.ledger.trials[1].reason or ""
    assert reason.startswith("out of GPU memory with a whole GPU: data.batch_size 32, data.patch ")


def test_out_of_memory_of_a_whole_gpu_is_certain(tmp_path: Path, nowhere: None) -> None:
    play = Play(tmp_path, resources={"gpu": 1, "cpu": 1})
    assert play.fail(1, FULL) is None
    assert play.ledger.trials[1].state == "failed"
    play.ledger.close()


def test_a_hung_trial_is_retried_once(play: Play) -> None:
    for state in ("pending", "failed"):
        play.recovery.hung(1, "hung: no report for 0:30:01")
        play.fail(1, KILLED)  # what Ray says of a process that we killed
        assert play.ledger.trials[1].state == state
    assert play.ledger.trials[1].reason == "hung: no report for 0:30:01 (started 2 times)"
    play.fail(2, KILLED)
    assert play.events("retried")[-1]["kind"] == "killed"


def test_what_dies_while_the_experiment_closes_did_not_fail(play: Play) -> None:
    """`scancel` kills every process of a job; twice, and a third time would be the end."""
    play.search.close("signal")
    for _ in range(4):
        assert play.fail(1, KILLED, node="n1") is None  # nothing is started any more
    assert (play.ledger.trials[1].state, play.ledger.trials[1].failures) == ("pending", {})
    assert len(play.events("suspended")) == 4


def test_an_error_that_is_not_at_hand_is_no_older_one(play: Play, tmp_path: Path) -> None:
    """Ray leaves the file of the failure before where the new one is of another kind."""
    play.fail(1, RuntimeError("the first"))
    play.fail(1, None)
    assert play.events("retried")[-1]["reason"] == "Ray could not run it: no reason recorded"
    trial: Any = FakeTrial(tmp_path, 1)
    trial.error_file = str(tmp_path / "error.txt")
    Path(trial.error_file).write_text(
        "Failure # 1 (occurred at 9:43)\nold\nFailure # 2 (occurred at 9:44)\n\nnew\nx\n"
    )
    Path(trial.pickled_error_file).write_bytes(b"\x80\x05cnowhere\nGone\n.")
    play.recovery.failed(trial)
    reason = play.ledger.trials[1].reason or ""
    assert reason == "crashed: Ray could not run it: new (started 3 times)"


def test_a_kill_that_came_too_late_is_no_reason_of_the_next_failure(play: Play) -> None:
    play.recovery.hung(1, "hung: no report for 0:30:01")  # and its last report arrives
    play.recovery.placement(1)  # it is started again
    play.fail(1, KILLED)
    assert [line["kind"] for line in play.events("retried")] == ["killed"]


@pytest.mark.parametrize("ending", [Finished(1), Stopped(1, "rank 3 of 3", 1), Failed(1, "nan")])
def test_what_breaks_while_ray_ends_a_trial_changes_nothing(play: Play, ending: OfTrial) -> None:
    play.report(1, 1)
    play.ledger.append(ending)
    before = play.ledger.path.read_bytes()
    assert play.fail(1, RuntimeError("no space left for Ray's files")) is None
    assert play.ledger.path.read_bytes() == before


def test_what_breaks_while_ray_ends_a_trial_that_waits_does_not_start_it_again(play: Play) -> None:
    """It would train past its rung, and be promoted on top of that."""
    play.report(1, 1)
    play.ledger.append(Paused(1, reason="waits at epoch 1"))
    assert play.fail(1, RuntimeError("no space left for Ray's files")) is None
    assert (play.events("retried"), play.events("failed")) == ([], [])
    assert play.ledger.trials[1].paused
    play.ledger.append(Started(1))  # promoted
    assert play.fail(1, KILLED) == {}
    assert [line["kind"] for line in play.events("retried")] == ["killed"]


@pytest.mark.parametrize("error", [KILLED, LOST, RuntimeError("x"), "preempted"], ids=str)
def test_every_start_of_a_trial_is_a_new_one_of_rays(staging: Staging, error: Any) -> None:
    """Ray starts none again by itself: of a node that is reclaimed it would, if it were let."""
    if error == "preempted":
        error = type(LOST)(error_msg="its node was preempted", preempted=True)
    (first,) = staging.trials(1)
    again = staging.break_on(1, None, error)
    assert (first.status, again.status) == ("ERROR", "PENDING")
    assert staging.trials(1) == [first, again]
    assert len(staging.controller.get_trials()) == 9  # and nobody else was started
    assert len(staging.events("retried")) == 1


def test_a_trial_that_is_given_up_is_started_no_more(staging: Staging) -> None:
    staging.nodes = ["n1"]
    for _ in range(2):
        last = staging.break_on(1, "n1", RuntimeError("a cosmic ray"))
    assert last.status == "ERROR"
    assert len(staging.trials(1)) == 2
    assert staging.ledger.trials[1].state == "failed"


def test_a_process_is_starting_once_ray_has_room_for_it(staging: Staging) -> None:
    (trial,) = staging.trials(1)
    assert staging.recovery.starting(trial) is None  # it waits for room
    controller: Any = staging.controller
    tracked = controller._trial_to_actor[trial]
    controller._actor_manager._live_actors_to_ray_actors_resources[tracked] = ("actor", "room")
    assert staging.recovery.starting(trial) == "actor"
    trial.status = "RUNNING"
    assert staging.recovery.starting(trial) is None


@pytest.mark.parametrize("confirms", [False, True], ids=["reference", "confirms-it"])
def test_a_reference_run_that_does_not_fit_is_given_up_like_a_trial(
    tmp_path: Path, confirms: bool
) -> None:
    """Its config is the baseline's, and has none of the parameters."""
    space = lr_space(tmp_path, objective={"metric": "delta_rate"}, resources={"gpu": 1, "cpu": 1})
    ledger = Ledger(tmp_path)
    open_session(ledger, Opened(**reference_metrics(space)))
    search = Search(space, ledger)
    first = search.next()
    assert isinstance(first, Start)
    number = first.trial
    if confirms:
        number = len(ledger.trials)
        ledger.append(Proposed(number, first.params, "confirm", of=first.trial, seed=7))
    assert not search.broke(number, Failure("device_memory", "CUDA out of memory")).restarts
    reason = ledger.trials[number].reason or ""
    assert reason.startswith("out of GPU memory with a whole GPU: data.batch_size ")
    assert ledger.trials[number].params["loss.lmbda"] == first.lmbda
    ledger.close()
