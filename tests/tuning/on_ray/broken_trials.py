"""Trials that break, played without Ray: a session's recovery, and the parts of Ray that ask it."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from ray import cloudpickle
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import RayActorError, RayTaskError
from ray.tune.execution.tune_controller import TuneController
from ray.tune.utils.object_cache import _ObjectCache

from tests.tuning.ledger_lines import read_lines
from tests.tuning.lr_space import METRIC, lr_space, open_ledger
from tuning.ledger.events import Proposed, Report
from tuning.on_ray.recovery import Recovery

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
            self.ledger.append(Proposed(len(self.ledger.trials), params={"optimizer.lr": 1e-4}))
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
        self.ledger.append(Report(number, metrics={"epoch": float(epoch), METRIC: 1.0}))
        self.recovery.worked(number)

    def events(self, name: str) -> list[dict[str, Any]]:
        return [e for e in read_lines(self.ledger.path.parent) if e["event"] == name]


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
