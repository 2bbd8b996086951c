"""What becomes of a trial whose process broke: started again, where and with what, or given up.

Ray is told to start every trial again (`max_failures=-1`) and asks here what that means: the class
of the failure (``failures.py``) decides, from counts that the ledger keeps, so a resume does
not begin to count anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ray import cloudpickle, tune
from ray.tune.experiment import Trial

from tuning.faults.diagnosis import diagnose
from tuning.faults.failures import Failure, may_retry
from tuning.faults.nodes import NodeTable, node_of, request
from tuning.ledger import Ledger
from tuning.records import TrialRecord
from tuning.redaction import redacted
from tuning.spaces.space import SearchSpace
from tuning.trainable import STOP_FILE


class Recovery:
    """Decides on every failure of every trial of one session; the scheduler asks it."""

    def __init__(self, space: SearchSpace, ledger: Ledger) -> None:
        self.space, self.ledger = space, ledger
        self.nodes = NodeTable(space.resources, space.faults.node_failures)
        self._runs_on: dict[int, str] = {}  # trial: node
        self._failed_on: dict[int, str] = {}  # trial: the node of its last failure
        self._elsewhere: set[int] = set()  # trials that have to wait for another node
        self._avoids: dict[int, list[str]] = {}  # waiting trials: nodes that they do not ask for
        self._hung: dict[int, Failure] = {}
        self._over: set[int] = set()  # trials that Ray is to end where it would start them again
        self._controller: Any = None  # Ray's, once a trial was added

    def started(self, trial: Trial) -> None:
        """A trial has a process, on some node."""
        self._forget(number_of(trial))
        actor = trial.temporary_state.ray_actor
        node = node_of(actor._actor_id.hex()) if actor is not None else None
        if node:
            self._runs_on[number_of(trial)] = node

    def starting(self, trial: Trial) -> Any:
        """The actor whose process Ray starts for a waiting trial; None while there is no room."""
        if trial.status != Trial.PENDING or self._controller is None:
            return None
        actor = self._controller._trial_to_actor.get(trial)
        manager = self._controller._actor_manager
        return manager._live_actors_to_ray_actors_resources.get(actor, (None,))[0]

    def worked(self, number: int) -> None:
        """A trial reported an epoch that was not reached before."""
        if number in self._runs_on:
            self.nodes.worked(self._runs_on[number])

    def hung(self, number: int, text: str) -> None:
        """The watchdog is about to kill a trial's process; its failure is of this class."""
        self._hung[number] = Failure("hung", text)

    def failed(self, trial: Trial) -> None:
        """Note a failure, and whether the trial is started again.

        While the experiment closes it is no failure: who ends a job may kill all of its processes.
        """
        record = self.ledger.trials[number_of(trial)]
        if record.ended or record.paused:  # it broke while Ray ended it
            self._over.add(record.number)
            return
        if any(self.ledger.path.parent.glob(f"{STOP_FILE}*")):
            self._over.add(record.number)
            self.ledger.append("suspended", record.number)
            return
        error, told = read_error(trial)
        failure = self._hung.pop(record.number, None) or diagnose(error, told)
        node = self._blame(record.number, error, failure)
        facts: dict[str, Any] = {"kind": failure.kind, "node": node}
        why = self._certain(record, failure, node)
        if why is None and may_retry(record.failures, failure.kind) and trial.should_recover():
            self.ledger.append("retried", record.number, reason=failure.text, **facts)
        else:
            self._over.add(record.number)
            reason = why or in_the_end(record, failure)
            self.ledger.append("failed", record.number, reason=reason, **facts)

    def place(self, controller: Any, trial: Trial) -> None:
        """A trial waits for a process: end it if that is not to be, else say what it needs."""
        self._forget(number_of(trial))
        self._controller = controller
        record = self.ledger.trials[number_of(trial)]
        if record.number in self._over:
            self._over.remove(record.number)
            controller.stop_trial(trial)
            return
        avoided = self.nodes.to_avoid(
            self._failed_on.pop(record.number, None), record.number in self._elsewhere
        )
        self._elsewhere.discard(record.number)
        if avoided:
            self._avoids[record.number] = avoided
        if avoided or self._gpu(record) != self.space.resources.gpu:
            _ask_for(controller, trial, self._room(record, avoided))

    def look_again(self, trials: Sequence[Trial]) -> None:
        """Trials that wait for other nodes, which are all gone, take what there is."""
        for trial in trials:
            number = number_of(trial)
            avoided = self._avoids.get(number) if trial.status == Trial.PENDING else None
            if avoided and not self.nodes.others(avoided):
                self._ask_again(trial, self.nodes.to_avoid(None))

    def _ask_again(self, trial: Trial, avoided: list[str]) -> None:
        """Have a waiting trial ask for any node but these; not where its process is on its way."""
        if not _withdraw(self._controller, trial):
            return
        record = self.ledger.trials[number_of(trial)]
        self._avoids[record.number] = avoided
        _ask_for(self._controller, trial, self._room(record, avoided))
        queue = self._controller._pending_trials_list
        if trial not in queue:
            queue.append(trial)

    def _forget(self, number: int) -> None:
        """What was known of a trial's process before the next one."""
        self._runs_on.pop(number, None)
        self._hung.pop(number, None)
        self._avoids.pop(number, None)

    def _gpu(self, record: TrialRecord) -> float:
        """What a trial needs of a GPU: all of it once a part was too little."""
        need = self.space.resources.gpu
        return 1.0 if record.alone and 0 < need < 1 else need

    def _room(self, record: TrialRecord, avoided: list[str]) -> tune.PlacementGroupFactory:
        return request(self.space.resources.cpu, self._gpu(record), avoided)

    def _blame(self, number: int, error: BaseException | None, failure: Failure) -> str | None:
        """The node on which it failed, drained where that was once too often."""
        node = self._runs_on.pop(number, None) or node_of(_actor_of(error))
        if node is None:
            return None
        if failure.policy.blames_node:
            self._failed_on[number] = node
        if self.nodes.failed(node, number, failure):
            self.ledger.append(
                "drained",
                node=node,
                host=self.nodes.name(node),
                trials=sorted(self.nodes.broken[node]),
                reason=failure.text,
            )
        return node

    def _certain(self, record: TrialRecord, failure: Failure, node: str | None) -> str | None:
        """Why another start would fail too; None where it may not."""
        if failure.kind == "device_memory":
            return self._too_large(record, failure)
        if failure.kind != "exception" or record.crash != redacted(failure.text):
            return None
        here_again = node is not None and node == record.crashed_on
        if here_again and self.nodes.others({record.crashed_on, *self.nodes.drained}):
            self._elsewhere.add(record.number)  # it may be the node's
            return None
        return f"the same error twice, not tried again: {failure.text}"

    def _too_large(self, record: TrialRecord, failure: Failure) -> str | None:
        if self.space.resources.gpu < 1 and not record.alone:
            return None
        data = self.space.config(record.params).data
        return (
            f"out of GPU memory with a whole GPU: data.batch_size {data.batch_size}, data.patch"
            f" {data.patch} and the model do not fit into it; {failure.text}"
        )


def in_the_end(record: TrialRecord, failure: Failure) -> str:
    """The reason of a trial that is given up."""
    said = failure.text if failure.kind != "exception" else f"crashed: {failure.text}"
    return f"{said} (started {record.retries + 1} times)" if record.retries else said


def number_of(trial: Trial) -> int:
    """Our number of one of Ray's trials."""
    return int(trial.config["trial"])


def read_error(trial: Trial) -> tuple[BaseException | None, str]:
    """The exception that Ray wrote a moment ago, in this process; and its words.

    Ray leaves the file of an earlier failure where the new one is of another kind, so it is taken
    away once it is read.
    """
    told = f"Ray could not run it: {_last_words(trial.error_file)}"
    path = Path(trial.pickled_error_file) if trial.pickled_error_file else None
    if path is None or not path.exists():
        return None, told
    content = path.read_bytes()
    path.unlink()
    try:
        error = cloudpickle.loads(content)
    except Exception:  # its class is not importable here
        return None, told
    return error if isinstance(error, BaseException) else None, told


def _last_words(path: str | None) -> str:
    """The first line of the newest entry of the text file in which Ray notes errors."""
    try:
        entries = Path(path or "").read_text(errors="replace").split("Failure # ")
    except OSError:
        return "no reason recorded"
    lines = [line.strip() for line in entries[-1].splitlines()[1:] if line.strip()]
    return lines[0][:300] if lines else "no reason recorded"


def _ask_for(controller: Any, trial: Trial, room: tune.PlacementGroupFactory) -> None:
    """Change what a waiting trial asks for; Ray 2.60 has filed it under what it asked before."""
    filed = controller._resources_to_pending_trials
    before = trial.placement_group_factory
    waits = trial in filed[before]
    filed[before].discard(trial)
    trial.update_resources(room)
    if waits:
        filed[room].add(trial)


def _withdraw(controller: Any, trial: Trial) -> bool:
    """Take back Ray's request for a waiting trial's process; False once the process is created.

    Ray asks for it as soon as the trial is added, and cancels this way what is not created yet:
    no callback follows. Its next step requests a process for whatever the trial asks for then.
    """
    actor, manager = controller._trial_to_actor.get(trial), controller._actor_manager
    if actor is not None:
        if actor not in manager._pending_actors_to_attrs:
            return False
        manager.remove_actor(actor)
        del controller._trial_to_actor[trial], controller._actor_to_trial[actor]
    if trial in controller._staged_trials:
        controller._staged_trials.remove(trial)
        controller._actor_cache.decrease_max(trial.placement_group_factory)
    return True


def _actor_of(error: BaseException | None) -> str | None:
    found = getattr(error, "actor_id", None) or getattr(error, "_actor_id", None)
    return str(found) if found else None
