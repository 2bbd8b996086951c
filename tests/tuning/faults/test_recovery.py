"""What becomes of a trial whose process broke, decided on fake trials without Ray."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ray import cloudpickle
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import RayActorError, RayTaskError
from ray.tune.execution.tune_controller import TuneController
from ray.tune.utils.object_cache import _ObjectCache

from tests.tuning.lr_space import METRIC, lr_space, open_ledger
from tuning.faults import recovery as module
from tuning.faults.diagnosis import KilledForMemoryError, NodeUnfitError, StoreAwayError
from tuning.faults.recovery import Recovery
from tuning.ledger import read_events

LOST = RayActorError(error_msg="The actor died because its node has died. Node Id: 5b")
KILLED = RayActorError(error_msg="its worker process has died", actor_id="a1")
FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


class FakeTrial:
    """What is read of one of Ray's trials, and what it was told."""

    def __init__(self, folder: Path, number: int) -> None:
        self.config = {"trial": number}
        self.pickled_error_file = str(folder / f"error-{number}.pkl")
        self.trial_id = f"ray{number}"
        self.status = "PENDING"
        self.error_file = "error.txt"
        self.resources: Any = None
        self.placement_group_factory = "stock"

    def should_recover(self) -> bool:
        return True

    def update_resources(self, resources: Any) -> None:
        self.resources = self.placement_group_factory = resources


class Play:
    """A session's recovery, and trials that break."""

    def __init__(self, folder: Path, **sections: dict[str, Any]) -> None:
        self.folder = folder
        self.space = lr_space(folder, **sections)
        self.ledger = open_ledger(folder)
        self.recovery = Recovery(self.space, self.ledger)
        need = self.space.resources
        self.nodes = ["n1", "n2"]
        self.busy: set[str] = set()
        has = {"CPU": max(need.cpu, 1.0), "GPU": 1.0}
        self.recovery.nodes.known = lambda: [
            {"NodeID": node, "Alive": True, "Resources": has, "NodeManagerHostname": f"host-{node}"}
            for node in self.nodes
        ]
        self.recovery.nodes.free = lambda: {n: has for n in self.nodes if n not in self.busy}
        self.stopped: list[int] = []
        self._resources_to_pending_trials: Any = defaultdict(set)  # as Ray's controller files them

    def propose(self, number: int) -> FakeTrial:
        while len(self.ledger.trials) <= number:
            self.ledger.append("proposed", len(self.ledger.trials), params={"optimizer.lr": 1e-4})
        return FakeTrial(self.folder, number)

    def fail(self, number: int, error: Exception, node: str | None = None) -> FakeTrial:
        """One failure, and what Ray does next: it adds the trial again."""
        trial = self.propose(number)
        if not isinstance(error, RayActorError):
            error = RayTaskError("train", "Traceback ..", error)
        Path(trial.pickled_error_file).write_bytes(cloudpickle.dumps(error))
        if node:
            self.recovery._runs_on[number] = node
        self.recovery.failed(trial)  # type: ignore[arg-type]
        self._resources_to_pending_trials["stock"].add(trial)
        self.recovery.place(self, trial)  # type: ignore[arg-type]
        return trial

    def stop_trial(self, trial: FakeTrial) -> None:
        """Ray's controller ends it."""
        self.stopped.append(trial.config["trial"])

    def report(self, number: int, epoch: int) -> None:
        self.ledger.append("report", number, metrics={"epoch": float(epoch), METRIC: 1.0})
        self.recovery.worked(number)

    def events(self, name: str) -> list[dict[str, Any]]:
        return [e for e in read_events(self.ledger.path.parent) if e["event"] == name]


class Staging(Play):
    """The same, and the parts of Ray's controller that request processes, without Ray."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.requested: list[Any] = []
        room: Any = SimpleNamespace(
            request_resources=lambda resource_request: self.requested.append(resource_request),
            cancel_resource_request=lambda resource_request: self.requested.remove(
                resource_request
            ),
        )
        self._actor_manager = RayActorManager(room)
        self._actor_cache: Any = _ObjectCache()
        self._trial_to_actor: dict[Any, Any] = {}
        self._actor_to_trial: dict[Any, Any] = {}
        self._staged_trials: set[Any] = set()
        self._pending_trials: set[Any] = set()
        self._pending_trials_list: list[Any] = []
        self._max_pending_trials = 9
        self._scheduler_alg = SimpleNamespace(choose_trial_to_run=lambda controller: None)

    def _wrapped(self) -> Staging:
        return self

    def _maybe_reuse_cached_actor(self, trial: FakeTrial) -> bool:
        return False

    def _schedule_trial_actor(self, trial: FakeTrial) -> None:
        asked = trial.placement_group_factory
        actor = self._actor_manager.add_actor(object, {}, asked)
        self._trial_to_actor[trial], self._actor_to_trial[actor] = actor, trial

    def break_on(self, number: int, node: str) -> FakeTrial:
        """A trial that fails there, and is in Ray's queue again."""
        trial = self.fail(number, RuntimeError(f"x{number}"), node=node)
        self._pending_trials.add(trial)
        self._pending_trials_list.append(trial)
        return trial

    def step(self) -> None:
        """What Ray does in each of its steps."""
        TuneController._maybe_add_actors(self)

    def look_again(self, trial: FakeTrial) -> None:
        self.recovery.look_again([trial])  # type: ignore[list-item]


@pytest.fixture
def staging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Staging]:
    monkeypatch.setattr(module, "node_of", lambda actor: None)
    found = Staging(tmp_path)
    yield found
    found.ledger.close()


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Play]:
    monkeypatch.setattr(module, "node_of", lambda actor: None)
    found = Play(tmp_path)
    yield found
    found.ledger.close()


@pytest.fixture
def quarter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Play]:
    """Four trials share a GPU."""
    monkeypatch.setattr(module, "node_of", lambda actor: None)
    found = Play(tmp_path, resources={"gpu": 0.25, "cpu": 1})
    yield found
    found.ledger.close()


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


def test_what_dies_while_the_experiment_closes_did_not_fail(play: Play) -> None:
    """`scancel` kills every process of a job; twice, and a third time would be the end."""
    (play.ledger.path.parent / "closing").touch()
    for _ in range(4):
        play.fail(1, KILLED, node="n1")
    assert (play.ledger.trials[1].state, play.ledger.trials[1].failures) == ("pending", {})
    assert play.stopped == [1, 1, 1, 1]  # nothing is started any more
    assert len(play.events("suspended")) == 4


def test_null_drains_no_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "node_of", lambda actor: None)
    play = Play(tmp_path, faults={"node_failures": None})
    for number in range(1, 6):
        play.fail(number, RuntimeError(str(number)), node="n1")
    assert play.events("drained") == []
    play.ledger.close()


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
