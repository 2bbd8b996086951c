"""One start of an experiment's driver: Ray Tune runs the trials that the search gives."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ray import tune
from ray.exceptions import RayError
from ray.tune.experiment import Trial

from tuning.checkpoints.retention import retention
from tuning.ledger import folders
from tuning.ledger.events import Closed, Opened
from tuning.ledger.ledger import Ledger
from tuning.ledger.notices import Notices
from tuning.ledger.records import ExperimentInfo
from tuning.on_ray.adapter import RayScheduler, RaySearcher
from tuning.on_ray.closing import Closing
from tuning.on_ray.cluster import Cluster
from tuning.on_ray.concurrency import GrowingLimiter
from tuning.on_ray.head_watch import HeadWatch, gcs_answers, patience
from tuning.on_ray.metrics import SearchMetrics
from tuning.on_ray.preflight import concurrent_now, idle_text
from tuning.on_ray.private_api import patched_actor_manager
from tuning.on_ray.progress_callback import OnChange, ProgressCallback
from tuning.on_ray.recovery import Recovery
from tuning.on_ray.tensorboard import TensorBoardCallback
from tuning.on_ray.trainable import TrialContext, trainable
from tuning.on_ray.watchdog import Watchdog
from tuning.results.outcome import ExperimentResult, experiment_result
from tuning.search.optuna_encoder import OptunaEncoder
from tuning.search.reference_reuse import Reports
from tuning.search.search import Search
from tuning.search.sessions import open_session, reference_metrics
from tuning.spaces.space import SearchSpace
from tuning.watching.study_copy import study_copy
from tuning.watching.study_storage import StudyPlace, without_password

OnStart = Callable[[ExperimentInfo], None]
OnNotice = Callable[[str], None]
OnLost = Callable[[bool], None]


@dataclass(frozen=True)
class Listeners:
    """Who hears of a search while it runs."""

    on_start: OnStart | None = None
    on_change: OnChange | None = None
    notices: Notices = field(default_factory=Notices)
    on_lost: OnLost | None = None
    callbacks: tuple[tune.Callback, ...] = ()


@dataclass
class Session:
    """One start of an experiment's driver, connected to Ray."""

    space: SearchSpace
    ledger: Ledger
    resumed: bool
    study: StudyPlace
    listeners: Listeners
    joined: Cluster
    context: TrialContext
    at_a_time: int
    provenance: dict[str, Any]
    references: Mapping[float, Reports]  # that are not trained, by lmbda

    @property
    def directory(self) -> Path:
        """The experiment's folder."""
        return self.ledger.path.parent

    def run(self) -> ExperimentResult:
        """Search to the end, or until something closes the experiment."""
        space, ledger, listeners = self.space, self.ledger, self.listeners
        notices = listeners.notices
        ledger.read_on()  # what another driver wrote meanwhile
        left = None
        if space.budget.hours is not None:
            left = space.budget.hours * 3600 - ledger.seconds
        closing = Closing(self.directory, left)
        context = replace(self.context, stop_file=closing.stop_file)
        self._open()
        search = Search(space, ledger, _copier(context), notices.add, self.references)
        closing.attach(search)
        info = self._info()
        error: str | None = None
        with closing.on_signals(), patched_actor_manager(), self._head_watched(closing):
            if listeners.on_start:
                listeners.on_start(info)
            progress = ProgressCallback(search, listeners.on_change, notices)
            with (
                study_copy(ledger, OptunaEncoder(space), self.study, notices),
                retention(ledger, space, context.checkpoints, notices),
            ):
                try:
                    metrics = SearchMetrics(ledger, space, self.at_a_time)
                    self._search(search, closing, context, [progress, metrics])
                except (tune.TuneError, RayError, OSError) as problem:
                    error = last_line(problem)
                result = _close(search, closing, info, error)
        progress.hand_on()
        return result

    def _open(self) -> None:
        """Record who searches what, and open the ledger."""
        space, directory = self.space, self.directory
        facts = {name: version(name) for name in ("ray", "optuna", "torch", "numpy")}
        facts |= {"python": platform.python_version(), **self.provenance}
        if self.study.url is not None:
            facts["study"] = without_password(self.study.url)
        if self.context.checkpoints_at is not None:
            facts["checkpoints"] = self.context.checkpoints_at
        folders.write_experiment(directory, space, experiment=directory.name, **facts)
        opened = Opened(
            digest=space.digest,
            devices=space.resources.devices,
            resumed=self.resumed,
            **reference_metrics(space),
            facts=facts | {"host": platform.node()},
        )
        open_session(self.ledger, opened)

    def _head_watched(self, closing: Closing) -> contextlib.AbstractContextManager[None]:
        on_lost = self.listeners.on_lost
        if on_lost is None:
            return contextlib.nullcontext()
        watch = HeadWatch(
            gcs_answers(),
            lambda: patience(self.joined.address, closing.signalled()),
            lambda silent: on_lost(closing.signalled()),
        )
        return watch.watching()

    def _info(self) -> ExperimentInfo:
        ledger = self.ledger
        return ExperimentInfo(
            name=self.directory.name,
            directory=self.directory,
            space=self.space,
            resumed=self.resumed,
            dashboard_url=self.joined.dashboard_url,
            token_hint=self.joined.token_hint,
            address=self.joined.address,
            resources=self.joined.resources,
            idle=idle_text(self.space),
            trials=ledger.trials,
            drained=ledger.drained,
            study=self.study.shown,
        )

    def _search(
        self,
        search: Search,
        closing: Closing,
        context: TrialContext,
        callbacks: Sequence[tune.Callback],
    ) -> None:
        """Run all trials. `Tuner` is not used: it pickles searcher and callbacks to the disk."""
        space, directory = search.space, self.directory
        recovery = Recovery(search)
        limited = GrowingLimiter(
            RaySearcher(search, closing, recovery), self.at_a_time, partial(concurrent_now, space)
        )
        watchdog = Watchdog(space.faults, search.ledger, recovery)
        tune.run(
            trainable(context),
            name=directory.name,
            storage_path=str(directory.parent),
            search_alg=limited,
            scheduler=RayScheduler(search, recovery),
            num_samples=-1,  # the search knows the budget
            trial_name_creator=_name_of(space),
            trial_dirname_creator=_name_of(space),
            stop=closing,
            callbacks=[watchdog, *callbacks, TensorBoardCallback(), *self.listeners.callbacks],
            max_failures=0,  # the search decides, see tuning/search/retries.py
            raise_on_failed_trial=False,
            log_to_file=True,
            sync_config=tune.SyncConfig(sync_artifacts=True),  # or the logs stay on the workers
            verbose=0,
        )
        search.end()


def _copier(context: TrialContext) -> Callable[[int, int, int], None]:
    """How a trial gets another's checkpoint."""

    def copy(trial: int, donor: int, epoch: int) -> None:
        context.checkpoints(trial).adopt(context.checkpoints(donor), epoch)

    return copy


def _close(
    search: Search, closing: Closing, info: ExperimentInfo, error: str | None
) -> ExperimentResult:
    error = search.problem or error
    if closing.reason == "hours" and error is None:
        search.stop_what_is_left()
    ledger = search.ledger
    result = experiment_result(
        info,
        ledger,
        budget_spent=closing.reason == "hours",
        interrupted=closing.interrupted,
        error=error,
    )
    ledger.close(Closed(result.complete, result.interrupted, error))
    return result


def last_line(problem: BaseException) -> str:
    """The last line of an error's text: Ray puts the traceback before it."""
    lines = [line for line in str(problem).splitlines() if line.strip()]
    return lines[-1].strip()[-500:] if lines else type(problem).__name__


def _name_of(space: SearchSpace) -> Callable[[Trial], str]:
    def name(trial: Trial) -> str:
        return space.trial_name(int(trial.config["trial"]))

    return name
