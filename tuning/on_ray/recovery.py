"""Where a trial whose process broke is started again, and what Ray knows of the failure.

Whether it is started again is decided by the search (:mod:`tuning.search.retries`), from counts
that the ledger keeps. This file has what only a cluster has: the node it ran on, nodes that are
drained, the exception that Ray raised.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ray import cloudpickle
from ray.tune.experiment import Trial

from tuning.ledger.failures import Failure
from tuning.ledger.records import TrialRecord
from tuning.on_ray import private_api
from tuning.on_ray.diagnosis import diagnose
from tuning.on_ray.nodes import NodeTable
from tuning.on_ray.trial_keys import PLACEMENT, number_of
from tuning.search.search import Search


class Recovery:
    """Follows the processes of one session's trials, by our numbers."""

    def __init__(self, search: Search) -> None:
        self.search = search
        space = search.space
        self.nodes = NodeTable(space.resources, space.faults.node_failures)
        self._runs_on: dict[int, str] = {}  # trial: node
        self._failed_on: dict[int, str] = {}  # trial: the node of its last failure
        self._elsewhere: set[int] = set()  # trials that have to wait for another node
        self._hung: dict[int, Failure] = {}
        self._controller: Any = None  # Ray's, once a trial was added

    def added(self, controller: Any) -> None:
        """A trial waits for a process."""
        self._controller = controller

    def started(self, trial: Trial) -> None:
        """A trial has a process, on some node."""
        number = number_of(trial)
        self._forget(number)
        node = private_api.node_of_trial(trial)
        if node:
            self._runs_on[number] = node

    def starting(self, trial: Trial) -> Any:
        """The actor whose process Ray starts for a waiting trial; None while there is no room."""
        if trial.status != Trial.PENDING or self._controller is None:
            return None
        return private_api.starting_actor(self._controller, trial)

    def worked(self, number: int) -> None:
        """A trial reported an epoch that was not reached before."""
        if number in self._runs_on:
            self.nodes.worked(self._runs_on[number])

    def hung(self, number: int, text: str) -> None:
        """The watchdog is about to kill a trial's process; its failure is of this class."""
        self._hung[number] = Failure("hung", text)

    def failed(self, trial: Trial) -> None:
        """Tell the search of a failure, and note where the trial must not go next."""
        number = number_of(trial)
        record = self.search.ledger.trials[number]
        error, words = read_error(trial)
        if record.ended or record.paused or self.search.closing is not None:
            self.search.broke(number, Failure("killed", words))  # not its own failure
            return
        failure = self._hung.pop(number, None) or diagnose(error, words)
        node = self._runs_on.pop(number, None) or private_api.node_of_error(error)
        self._blame(number, node, failure)
        other = bool(self.nodes.others({record.crashed_on, *self.nodes.drained}))
        retry = self.search.broke(number, failure, node, other_node=other)
        if retry.elsewhere:
            self._elsewhere.add(number)

    def placement(self, number: int) -> dict[str, Any]:
        """What a start of the trial needs besides the space's resources; empty: nothing else."""
        self._forget(number)
        avoided = self.nodes.to_avoid(self._failed_on.pop(number, None), number in self._elsewhere)
        self._elsewhere.discard(number)
        found: dict[str, Any] = {"avoid": avoided} if avoided else {}
        record = self.search.ledger.trials[number]
        if self._gpu(record) != self.search.space.resources.gpu:
            found["gpu"] = self._gpu(record)
        return found

    def look_again(self, trials: Sequence[Trial]) -> None:
        """Let trials that wait for other nodes take any node, if the others are all gone."""
        for trial in trials:
            avoided = trial.config.get(PLACEMENT, {}).get("avoid")
            if trial.status != Trial.PENDING or not avoided or self.nodes.others(avoided):
                continue
            if private_api.has_actor(self._controller, trial):
                continue  # its process is on its way
            self.search.start_again(number_of(trial))
            self._controller.stop_trial(trial)

    def _forget(self, number: int) -> None:
        """What was known of a trial's process before the next one."""
        self._runs_on.pop(number, None)
        self._hung.pop(number, None)

    def _gpu(self, record: TrialRecord) -> float:
        """What a trial needs of a GPU: all of it once a part was too little."""
        need = self.search.space.resources.gpu
        return 1.0 if record.needs_whole_gpu and 0 < need < 1 else need

    def _blame(self, number: int, node: str | None, failure: Failure) -> None:
        """Note the node on which it failed, and drain it if that was one failure too many."""
        if node is None:
            return
        if failure.policy.blames_node:
            self._failed_on[number] = node
        if self.nodes.failed(node, number, failure):
            trials = sorted(self.nodes.broken[node])
            self.search.drained(node, self.nodes.name(node), trials, failure.text)


def read_error(trial: Trial) -> tuple[BaseException | None, str]:
    """The exception that Ray wrote a moment ago, in this process; and its words.

    Ray leaves the file of an earlier failure if the new one is of another kind, so it is taken
    away once it is read.
    """
    words = f"Ray could not run it: {_last_words(trial.error_file)}"
    path = Path(trial.pickled_error_file) if trial.pickled_error_file else None
    if path is None or not path.exists():
        return None, words
    content = path.read_bytes()
    path.unlink()
    try:
        error = cloudpickle.loads(content)
    except Exception:  # its class is not importable here
        return None, words
    return error if isinstance(error, BaseException) else None, words


def _last_words(path: str | None) -> str:
    """The first line of the newest entry of the text file in which Ray notes errors."""
    try:
        entries = Path(path or "").read_text(errors="replace").split("Failure # ")
    except OSError:
        return "no reason recorded"
    lines = [line.strip() for line in entries[-1].splitlines()[1:] if line.strip()]
    return lines[0][:300] if lines else "no reason recorded"
