"""Which node is blamed for a failure, and where the trial is placed next; without Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.tuning.on_ray.broken_trials import KILLED, LOST, Play, Staging, selector
from tuning.on_ray.diagnosis import NodeUnfitError, StoreAwayError

NOT_N1 = {"avoid": ["n1"]}


def test_a_retry_goes_to_another_node_where_one_is_free(play: Play) -> None:
    assert play.fail(1, RuntimeError("x"), node="n1") == NOT_N1
    assert play.recovery.placement(1) == {}  # once
    play.busy = {"n2"}
    assert play.fail(2, RuntimeError("x"), node="n1") == {}  # it would wait for ever
    play.busy = set()
    assert play.fail(3, LOST, node="n1") == {}


def test_a_node_that_breaks_trial_after_trial_is_drained(play: Play) -> None:
    play.busy = {"n2"}
    for number in (1, 2):
        play.fail(number, RuntimeError("CUDA error: uncorrectable"), node="n1")
    play.fail(2, RuntimeError("CUDA error: uncorrectable"), node="n1")
    assert play.events("drained") == []  # two trials, not three
    assert play.fail(3, RuntimeError("CUDA error: uncorrectable"), node="n1") == NOT_N1
    (line,) = play.events("drained")
    assert (line["node"], line["host"], line["trials"]) == ("n1", "host-n1", [1, 2, 3])
    assert line["reason"] == "RuntimeError: CUDA error: uncorrectable"
    assert play.ledger.drained == ["host-n1 (n1): RuntimeError: CUDA error: uncorrectable"]
    assert play.recovery.placement(4) == NOT_N1
    play.nodes = ["n1"]  # the other one is gone: better there than nowhere
    assert play.recovery.placement(5) == {}


def test_an_epoch_in_between_clears_a_node(play: Play) -> None:
    for number in (1, 2, 3, 4):
        play.fail(number, RuntimeError(str(number)), node="n1")
        if number == 2:
            play.recovery._runs_on[5] = "n1"
            play.report(5, 1)
    assert play.events("drained") == []


def test_the_last_node_is_never_drained(play: Play) -> None:
    play.nodes = ["n1"]
    for number in range(1, 6):
        assert play.fail(number, RuntimeError(str(number)), node="n1") == {}
    assert play.events("drained") == []


def test_nodes_that_went_are_not_blamed_and_one_that_does_not_fit_goes_at_once(play: Play) -> None:
    for number in (1, 2, 3, 4):
        play.fail(number, LOST, node="n1")
    assert play.events("drained") == []
    play.fail(5, NodeUnfitError("its torch is 2.8.0, the driver's 2.15.0"), node="n2")
    (line,) = play.events("drained")
    assert (line["node"], line["reason"]) == ("n2", "its torch is 2.8.0, the driver's 2.15.0")
    assert play.ledger.trials[5].state == "pending"


def test_null_drains_no_node(tmp_path: Path, nowhere: None) -> None:
    play = Play(tmp_path, faults={"node_failures": None})
    for number in range(1, 6):
        play.fail(number, RuntimeError(str(number)), node="n1")
    assert play.events("drained") == []
    play.ledger.close()


def test_a_process_that_never_started_does_not_blame_the_node_of_the_one_before(play: Play) -> None:
    """A trial waits at a rung, is promoted to another node, and its process dies at its start."""
    play.busy = {"n2"}
    for number in (1, 2, 3):
        play.recovery._runs_on[number] = "n1"
        play.recovery.placement(number)
        play.fail(number, KILLED)
    assert [line.get("node") for line in play.events("retried")] == [None] * 3
    assert play.events("drained") == []


def test_a_store_that_is_away_is_no_fault_of_a_trial_or_its_node(play: Play) -> None:
    play.busy = {"n2"}
    for number in (1, 2, 3, 4):
        for _ in range(8):  # the same words each time
            assert play.fail(number, StoreAwayError("403 Forbidden"), node="n1") == {}
    assert (play.events("drained"), play.events("failed")) == ([], [])
    assert play.fail(1, StoreAwayError("403 Forbidden"), node="n1") is None
    reason = "the place of the checkpoints did not answer: 403 Forbidden (started 9 times)"
    assert play.ledger.trials[1].reason == reason


def test_a_retry_asks_ray_for_another_node(staging: Staging) -> None:
    trial = staging.break_on(1, "n1", RuntimeError("x"))
    assert selector(trial) == [{"ray.io/node-id": "!in(n1)"}]
    assert selector(staging.trials(2)[0]) is None


@pytest.mark.parametrize("requested", [True, False], ids=["requested", "not-yet-requested"])
def test_a_trial_does_not_wait_for_nodes_that_are_gone(staging: Staging, requested: bool) -> None:
    """It failed on n1 and asked for another node; n2 dies, too, while it waits."""
    waits = staging.break_on(1, "n1", RuntimeError("x"))
    if requested:
        staging.step()
        assert waits.placement_group_factory in staging.requested
    staging.recovery.look_again(staging.controller.get_trials())
    assert waits.status == "PENDING"  # n2 lives
    staging.nodes = ["n1"]
    for _ in range(3):
        staging.recovery.look_again(staging.controller.get_trials())
        staging.step()
    *_, before, now = staging.trials(1)
    assert (before, waits.status, now.status) == (waits, "TERMINATED", "PENDING")
    assert selector(now) is None
    assert waits.placement_group_factory not in staging.requested  # and nothing else is asked for
    assert len(staging.requested) == 8
    assert len(staging.trials(1)) == 3
    assert staging.ledger.trials[1].retries == 1


def test_drained_nodes_are_still_avoided_where_another_is_left(staging: Staging) -> None:
    staging.nodes = ["n1", "n2", "n3"]
    staging.recovery.nodes.drained["n3"] = "broken"
    staging.break_on(1, "n1", RuntimeError("x"))
    for nodes, avoided in ((["n1", "n3"], "!in(n3)"), (["n3"], None)):
        staging.nodes = nodes
        staging.recovery.look_again(staging.controller.get_trials())
        staging.step()
        asked = selector(staging.trials(1)[-1])
        assert asked == (avoided and [{"ray.io/node-id": avoided}])


def test_a_process_on_its_way_is_left_alone(staging: Staging) -> None:
    trial = staging.break_on(1, "n1", RuntimeError("x"))
    staging.step()
    controller: Any = staging.controller
    controller._actor_manager._pending_actors_to_attrs.clear()  # Ray creates it
    staging.nodes = ["n1"]
    staging.recovery.look_again([trial])
    staging.step()
    assert staging.trials(1)[-1] is trial
    assert trial.status == "PENDING"


@pytest.mark.parametrize("status", ["RUNNING", "TERMINATED", "ERROR"])
def test_only_waiting_trials_are_looked_at_again(staging: Staging, status: str) -> None:
    trial = staging.break_on(1, "n1", RuntimeError("x"))
    staging.controller._set_trial_status(trial, status)
    staging.nodes = ["n1"]
    staging.recovery.look_again([trial])
    staging.step()
    assert staging.trials(1)[-1] is trial
