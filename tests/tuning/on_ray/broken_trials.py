"""Trials that break, played without Ray: a search, its recovery, and Ray's own controller."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from ray import cloudpickle
from ray.exceptions import RayActorError, RayTaskError
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Experiment, Trial
from ray.tune.search import ConcurrencyLimiter, SearchGenerator

from tests.tuning.fake_training import train
from tests.tuning.ledger_lines import read_lines
from tests.tuning.lr_space import METRIC, lr_space, open_ledger
from tuning.ledger.events import Proposed, Report
from tuning.on_ray.adapter import RayScheduler, RaySearcher
from tuning.on_ray.closing import Closing
from tuning.on_ray.recovery import Recovery
from tuning.on_ray.trainable import TrialContext, trainable
from tuning.on_ray.trial_keys import number_of
from tuning.search.decisions import Start
from tuning.search.search import Search

TRIALS = 8
LOST = RayActorError(error_msg="The actor died because its node has died. Node Id: 5b")
KILLED = RayActorError(error_msg="its worker process has died", actor_id="a1")
FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


class FakeTrial:
    """What is read of one of Ray's trials."""

    def __init__(self, folder: Path, number: int) -> None:
        self.config = {"trial": number}
        self.pickled_error_file = str(folder / f"error-{number}.pkl")
        self.error_file = "error.txt"


class Play:
    """A session's search and recovery; all of its trials are started, and break."""

    def __init__(self, folder: Path, **sections: dict[str, Any]) -> None:
        self.folder = folder
        self.space = lr_space(folder, budget={"trials": TRIALS, "concurrent": TRIALS}, **sections)
        self.ledger = open_ledger(folder)
        for number in range(TRIALS):
            self.ledger.append(Proposed(number, params={"optimizer.lr": 1e-4}), sync=False)
        self.search = Search(self.space, self.ledger)
        self.recovery = Recovery(self.search)
        need = self.space.resources
        self.nodes = ["n1", "n2"]
        self.busy: set[str] = set()
        has = {"CPU": max(need.cpu, 1.0), "GPU": 1.0}
        self.recovery.nodes.known = lambda: [
            {"NodeID": node, "Alive": True, "Resources": has, "NodeManagerHostname": f"host-{node}"}
            for node in self.nodes
        ]
        self.recovery.nodes.free = lambda: {n: has for n in self.nodes if n not in self.busy}
        self.begin()

    def begin(self) -> None:
        for number in range(TRIALS):
            start = self.search.next()
            assert isinstance(start, Start)
            assert start.trial == number

    def fail(
        self, number: int, error: Exception | None, node: str | None = None
    ) -> dict[str, Any] | None:
        """One failure; what the next start asks for beside the space's, None if there is none.

        Without an ``error`` the file that Ray writes of it is left as it is.
        """
        trial: Any = FakeTrial(self.folder, number)
        if error is not None:
            Path(trial.pickled_error_file).write_bytes(cloudpickle.dumps(as_ray_says(error)))
        if node:
            self.recovery._runs_on[number] = node
        self.recovery.failed(trial)
        self.search.process_ended(number)
        start = self.search.next()
        if not isinstance(start, Start):
            return None
        assert start.trial == number
        return self.recovery.placement(number)

    def report(self, number: int, epoch: int) -> None:
        self.ledger.append(Report(number, metrics={"epoch": float(epoch), METRIC: 1.0}))
        self.recovery.worked(number)

    def events(self, name: str) -> list[dict[str, Any]]:
        return [e for e in read_lines(self.ledger.path.parent) if e["event"] == name]


class Staging(Play):
    """The same in Ray's controller, which waits for room that a test gives or does not give."""

    controller: TuneController

    def begin(self) -> None:
        directory = self.ledger.path.parent
        self.requested: list[Any] = []
        room = SimpleNamespace(
            request_resources=lambda resource_request: self.requested.append(resource_request),
            cancel_resource_request=lambda resource_request: self.requested.remove(
                resource_request
            ),
        )
        closing = Closing(directory, None)
        closing.attach(self.search)
        searcher = RaySearcher(self.search, closing, self.recovery)
        generator = SearchGenerator(ConcurrencyLimiter(searcher, TRIALS))
        experiment = Experiment(
            name=directory.name,
            run=trainable(TrialContext(self.space, directory, train)),
            storage_path=str(self.folder),
            num_samples=sys.maxsize,
            max_failures=0,
        )
        generator.add_configurations([experiment])
        self.controller = TuneController(
            search_alg=generator,
            scheduler=RayScheduler(self.search, self.recovery),
            resource_manager_factory=lambda: room,
            storage=experiment.storage,
        )
        self.step()

    def step(self) -> None:
        """What Ray does in each of its steps before it waits for an event."""
        self.controller._maybe_update_trial_queue()
        self.controller._maybe_add_actors()

    def trials(self, number: int) -> list[Trial]:
        """Ray's trials of this number, in the order of their starts."""
        return [trial for trial in self.controller.get_trials() if number_of(trial) == number]

    def run(self, number: int, node: str | None = None) -> Trial:
        """The newest start gets a process."""
        trial = self.trials(number)[-1]
        trial.init_local_path()
        self.controller._set_trial_status(trial, Trial.RUNNING)
        if node:
            self.recovery._runs_on[number] = node
        return trial

    def break_on(self, number: int, node: str | None, error: Exception) -> Trial:
        """Its process breaks on a node; given is the start that follows."""
        self.controller._process_trial_failure(self.run(number, node), as_ray_says(error))
        self.controller._maybe_update_trial_queue()
        return self.trials(number)[-1]


def as_ray_says(error: Exception) -> Exception:
    """What the driver gets of an exception in a trial's process."""
    if isinstance(error, RayActorError):
        return error
    found: Exception = RayTaskError("train", "Traceback ..", error)
    return found


def selector(trial: Trial) -> Any:
    """Which nodes one of Ray's trials asks for; None: any."""
    return trial.placement_group_factory._bound.arguments.get("bundle_label_selector")
