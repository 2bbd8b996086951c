"""Which node is blamed for a failure, and where the trial is placed next; without Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.tuning.on_ray.broken_trials import KILLED, LOST, FakeTrial, Play, Staging
from tuning.faults import recovery as module
from tuning.on_ray.diagnosis import NodeUnfitError, StoreAwayError


def test_a_retry_goes_to_another_node_where_one_is_free(play: Play) -> None:
    def selector(trial: FakeTrial) -> Any:
        return trial.resources and trial.resources._bound.arguments.get("bundle_label_selector")

    elsewhere = [{"ray.io/node-id": "!in(n1)"}]
    assert selector(play.fail(1, RuntimeError("x"), node="n1")) == elsewhere
    again = play.propose(1)
    play.recovery.place(play, again)  # type: ignore[arg-type]
    assert again.resources is None  # once
    play.busy = {"n2"}
    assert selector(play.fail(2, RuntimeError("x"), node="n1")) is None  # it would wait for ever
    play.busy = set()
    assert selector(play.fail(3, LOST, node="n1")) is None


def test_a_node_that_breaks_trial_after_trial_is_drained(play: Play) -> None:
    play.busy = {"n2"}
    for number in (1, 2):
        play.fail(number, RuntimeError("CUDA error: uncorrectable"), node="n1")
    play.fail(2, RuntimeError("CUDA error: uncorrectable"), node="n1")
    assert play.events("drained") == []  # two trials, not three
    trial = play.fail(3, RuntimeError("CUDA error: uncorrectable"), node="n1")
    (line,) = play.events("drained")
    assert (line["node"], line["host"], line["trials"]) == ("n1", "host-n1", [1, 2, 3])
    assert line["reason"] == "RuntimeError: CUDA error: uncorrectable"
    assert play.ledger.drained == ["host-n1 (n1): RuntimeError: CUDA error: uncorrectable"]
    later = play.propose(4)
    play.recovery.place(play, later)  # type: ignore[arg-type]
    for placed in (trial, later):
        assert placed.resources._bound.arguments["bundle_label_selector"] == [
            {"ray.io/node-id": "!in(n1)"}
        ]
    play.nodes = ["n1"]  # the other one is gone: better there than nowhere
    last = play.propose(5)
    play.recovery.place(play, last)  # type: ignore[arg-type]
    assert last.resources is None


def test_an_epoch_in_between_clears_a_node(play: Play) -> None:
    for number in (1, 2, 3, 4):
        play.fail(number, RuntimeError(str(number)), node="n1")
        if number == 2:
            play.propose(5)
            play.recovery._runs_on[5] = "n1"
            play.report(5, 1)
    assert play.events("drained") == []


def test_the_last_node_is_never_drained(play: Play) -> None:
    play.nodes = ["n1"]
    for number in range(1, 6):
        trial = play.fail(number, RuntimeError(str(number)), node="n1")
        assert trial.resources is None
    assert play.events("drained") == []


def test_nodes_that_went_are_not_blamed_and_one_that_does_not_fit_goes_at_once(play: Play) -> None:
    for number in (1, 2, 3, 4):
        play.fail(number, LOST, node="n1")
    assert play.events("drained") == []
    play.fail(5, NodeUnfitError("its torch is 2.8.0, the driver's 2.15.0"), node="n2")
    (line,) = play.events("drained")
    assert (line["node"], line["reason"]) == ("n2", "its torch is 2.8.0, the driver's 2.15.0")
    assert play.ledger.trials[5].state == "pending"


def test_null_drains_no_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "node_of", lambda actor: None)
    play = Play(tmp_path, faults={"node_failures": None})
    for number in range(1, 6):
        play.fail(number, RuntimeError(str(number)), node="n1")
    assert play.events("drained") == []
    play.ledger.close()


def test_a_process_that_never_started_does_not_blame_the_node_of_the_one_before(play: Play) -> None:
    """A trial waits at a rung, is promoted to another node, and its process dies at its start."""
    play.busy = {"n2"}
    for number in (1, 2, 3):
        trial = play.propose(number)
        play.recovery._runs_on[number] = "n1"
        play.recovery.place(play, trial)  # type: ignore[arg-type]
        play.fail(number, KILLED)
    assert [line["node"] for line in play.events("retried")] == [None] * 3
    assert play.events("drained") == []


def test_a_store_that_is_away_is_no_fault_of_a_trial_or_its_node(play: Play) -> None:
    play.busy = {"n2"}
    for number in (1, 2, 3, 4):
        for _ in range(8):  # the same words each time
            trial = play.fail(number, StoreAwayError("403 Forbidden"), node="n1")
            assert trial.resources is None
    assert (play.stopped, play.events("drained"), play.events("failed")) == ([], [], [])
    play.fail(1, StoreAwayError("403 Forbidden"), node="n1")
    reason = "the place of the checkpoints did not answer: 403 Forbidden (started 9 times)"
    assert (play.ledger.trials[1].reason, play.stopped) == (reason, [1])


@pytest.mark.parametrize("staged", [True, False], ids=["requested", "not-yet-requested"])
def test_a_trial_does_not_wait_for_nodes_that_are_gone(staging: Staging, staged: bool) -> None:
    """It failed on n1 and asked for another node; n2 dies, too, while it waits."""
    trial = staging.break_on(1, "n1")
    before = trial.placement_group_factory
    if staged:
        staging.step()
        assert staging.requested == [before]
    staging.look_again(trial)
    assert trial.placement_group_factory is before  # n2 lives
    staging.nodes = ["n1"]
    staging.look_again(trial)
    now = trial.placement_group_factory
    assert "bundle_label_selector" not in now._bound.arguments
    assert staging._resources_to_pending_trials[before] == set()
    assert staging._resources_to_pending_trials[now] == {trial}
    for _ in range(2):
        staging.step()
        staging.look_again(trial)
    assert staging.requested == [now]  # and nothing else
    assert staging._staged_trials == {trial}
    assert staging._actor_cache.total_max_objects == 1
    assert list(staging._trial_to_actor.values()) == list(staging._actor_to_trial)


def test_drained_nodes_are_still_avoided_where_another_is_left(staging: Staging) -> None:
    staging.nodes = ["n1", "n2", "n3"]
    staging.recovery.nodes.drained["n3"] = "broken"
    trial = staging.break_on(1, "n1")
    staging.nodes = ["n1", "n3"]
    staging.look_again(trial)
    selector = trial.placement_group_factory._bound.arguments["bundle_label_selector"]
    assert selector == [{"ray.io/node-id": "!in(n3)"}]
    staging.nodes = ["n3"]
    staging.look_again(trial)
    assert "bundle_label_selector" not in trial.placement_group_factory._bound.arguments


def test_a_process_on_its_way_is_left_alone(staging: Staging) -> None:
    trial = staging.break_on(1, "n1")
    staging.step()
    before = trial.placement_group_factory
    staging._actor_manager._pending_actors_to_attrs.clear()  # Ray creates it
    staging.nodes = ["n1"]
    staging.look_again(trial)
    assert trial.placement_group_factory is before
    assert staging.requested == [before]


@pytest.mark.parametrize("status", ["RUNNING", "TERMINATED", "ERROR"])
def test_only_waiting_trials_are_looked_at_again(staging: Staging, status: str) -> None:
    trial = staging.break_on(1, "n1")
    before, trial.status = trial.placement_group_factory, status
    staging.nodes = ["n1"]
    staging.look_again(trial)
    assert trial.placement_group_factory is before
