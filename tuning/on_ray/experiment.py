"""A search on Ray: an experiment is created or reopened, and its trials run to their end.

Ray places trials. What is known of them and what was decided is in the ledger, what was learnt is
in the checkpoints, in the experiment's directory or where `--checkpoints` says. So a resume does
not depend on Ray's own snapshot, which is up to ten seconds old and holds no scheduler: it starts a
new Ray run that continues the unfinished trials.
"""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ray import tune
from ray.exceptions import RayError
from ray.tune.experiment import Trial

import hpcm
from hpcm.schema import ConfigError
from tuning.checkpoints.places import experiment_place
from tuning.checkpoints.retention import refuse_lost, retention
from tuning.ledger import folders
from tuning.ledger.events import Closed, Opened
from tuning.ledger.ledger import Ledger
from tuning.ledger.notices import Notices
from tuning.ledger.records import ExperimentInfo
from tuning.on_ray.adapter import RayScheduler, RaySearcher
from tuning.on_ray.closing import Closing
from tuning.on_ray.cluster import Cluster, cluster
from tuning.on_ray.concurrency import GrowingLimiter
from tuning.on_ray.head_watch import HeadWatch, gcs_answers, patience
from tuning.on_ray.metrics import SearchMetrics
from tuning.on_ray.preflight import check_cluster, check_data, concurrent, concurrent_now
from tuning.on_ray.private_api import patched_actor_manager
from tuning.on_ray.progress_callback import OnChange, ProgressCallback
from tuning.on_ray.recovery import Recovery
from tuning.on_ray.trainable import TrainFunction, TrialContext, trainable, trial_name
from tuning.on_ray.watchdog import Watchdog
from tuning.results.outcome import ExperimentResult, experiment_result
from tuning.search import warm_start
from tuning.search.optuna_encoder import OptunaEncoder
from tuning.search.search import Search, open_session
from tuning.spaces import defaults
from tuning.spaces.refusals import NotNowError
from tuning.spaces.space import SearchSpace
from tuning.watching.study_copy import study_copy
from tuning.watching.study_storage import StudyPlace, study_place, without_password

OnStart = Callable[[ExperimentInfo], None]
OnNotice = Callable[[str], None]
OnLost = Callable[[bool], None]


def run_experiment(
    space: SearchSpace,
    *,
    storage: str = defaults.STORAGE,
    name: str | None = None,
    resume: str | None = None,
    address: str | None = None,
    callbacks: Sequence[tune.Callback] = (),
    on_start: OnStart | None = None,
    on_change: OnChange | None = None,
    on_notice: OnNotice | None = None,
    on_lost: OnLost | None = None,
    study_url: str | None = None,
    checkpoints: str | None = None,
    provenance: dict[str, Any] | None = None,
    train: TrainFunction = hpcm.train,
) -> ExperimentResult:
    """Search ``space`` to the end of its budget, or until a signal; give what was found.

    Every start is a new experiment under ``storage``; ``resume`` names one to continue, or is
    ``last``. ``on_start`` hears once where it lives, ``on_change`` hears the trials when something
    happened (:mod:`tuning.on_ray.progress_callback`), ``on_notice`` what a person should know; all
    run in this thread. ``on_lost`` hears, in another one, that the head of the cluster is gone, and
    whether a signal had asked to end: it must end the process, for calls into Ray block. The copy
    of the study is kept in the PostgreSQL database ``study_url`` if one is given, and checkpoints
    in the folder or URL ``checkpoints``, which a resume knows. ``provenance`` is kept with the
    experiment. ``train`` is what a trial iterates. Raises :class:`ConfigError` for what a user can
    mend, before anything is created.
    """
    listeners = Listeners(on_start, on_change, Notices(on_notice), on_lost, tuple(callbacks))
    facts = provenance or {}
    folder = folders.storage_folder(storage)
    if resume is None:
        experiment = Experiment.create(space, folder, name, study_url, checkpoints, listeners)
    else:
        experiment = Experiment.reopen(space, folder, resume, study_url, checkpoints, listeners)
    return experiment.run(train, address, facts)


@dataclass(frozen=True)
class Listeners:
    """Who hears of a search while it runs."""

    on_start: OnStart | None = None
    on_change: OnChange | None = None
    notices: Notices = field(default_factory=Notices)
    on_lost: OnLost | None = None
    callbacks: tuple[tune.Callback, ...] = ()


@dataclass(frozen=True)
class Experiment:
    """One experiment that is about to run, checked as far as goes without a cluster."""

    space: SearchSpace
    ledger: Ledger
    resumed: bool
    earlier: list[warm_start.Earlier]
    study: StudyPlace
    checkpoints: str | None  # folder or URL; None: in its own folder
    listeners: Listeners

    @classmethod
    def create(
        cls,
        space: SearchSpace,
        folder: Path,
        name: str | None,
        study_url: str | None,
        checkpoints: str | None,
        listeners: Listeners,
    ) -> Experiment:
        """A new experiment under ``folder``; its directory is made when it runs."""
        name = name or folders.new_name(space, folder)
        directory = folder / name
        if directory.exists():
            raise ConfigError(
                f"{name}: there is an experiment of this name in {folder}; --resume it"
            )
        ledger = Ledger(directory, devices=space.resources.devices)
        return cls(
            space=space,
            ledger=ledger,
            resumed=False,
            earlier=warm_start.gather(space, folder, directory),
            study=study_place(directory, study_url, False, listeners.notices),
            checkpoints=experiment_place(directory, checkpoints, False),
            listeners=listeners,
        )

    @classmethod
    def reopen(
        cls,
        space: SearchSpace,
        folder: Path,
        resume: str,
        study_url: str | None,
        checkpoints: str | None,
        listeners: Listeners,
    ) -> Experiment:
        """One that was begun, to go on; refused if the space changed or something is lost."""
        directory = folders.find(folder, resume, space.name)
        folders.refuse_changes(folders.read_experiment(directory), space, directory.name)
        folders.refuse_lost_ledger(directory)
        ledger = Ledger(directory, devices=space.resources.devices)
        folders.refuse_another_ledger(ledger)
        folders.refuse_smaller_budget(ledger, space)
        place = experiment_place(directory, checkpoints, True)
        refuse_lost(directory, space, place)
        return cls(
            space=space,
            ledger=ledger,
            resumed=True,
            earlier=warm_start.gather(space, folder, directory),
            study=study_place(directory, study_url, True, listeners.notices),
            checkpoints=place,
            listeners=listeners,
        )

    @property
    def directory(self) -> Path:
        """Where it lives."""
        return self.ledger.path.parent

    def run(
        self, train: TrainFunction, address: str | None, provenance: dict[str, Any]
    ) -> ExperimentResult:
        """Connect to Ray, check its nodes, and search to the end."""
        space, folder, trains = self.space, self.directory.parent, train is hpcm.train
        if trains:
            check_data(space)
        with contextlib.ExitStack() as stack:
            if self.resumed:
                stack.enter_context(folders.driving(self.directory))
            joined = stack.enter_context(cluster(address))
            at_a_time = concurrent(space)
            reference = check_cluster(
                space,
                folder,
                joined,
                trains=trains,
                resumed=self.directory if self.resumed else None,
                checkpoints=self.checkpoints,
            )
            if not self.resumed:
                _make(self.directory)
                stack.enter_context(folders.driving(self.directory))
            warm_start.freeze(self.directory, self.earlier)
            for one in self.earlier:
                self.listeners.notices.add(f"the searcher learns from {one}")
            context = TrialContext(space, self.directory, train, reference, self.checkpoints)
            return _Session(self, joined, context, at_a_time, provenance).run()


@dataclass
class _Session:
    """One start of an experiment's driver, connected to Ray."""

    experiment: Experiment
    joined: Cluster
    context: TrialContext
    at_a_time: int
    provenance: dict[str, Any]

    def run(self) -> ExperimentResult:
        experiment, listeners = self.experiment, self.experiment.listeners
        space, ledger, notices = experiment.space, experiment.ledger, listeners.notices
        ledger.read_on()  # what another driver wrote meanwhile
        left = None
        if space.budget.hours is not None:
            left = space.budget.hours * 3600 - ledger.seconds
        closing = Closing(experiment.directory, left)
        context = replace(self.context, stop_file=closing.stop_file)
        self._open()
        search = Search(space, ledger, _copier(context), notices.add)
        closing.attach(search)
        info = self._info()
        error: str | None = None
        with closing.on_signals(), patched_actor_manager(), self._head_watched(closing):
            if listeners.on_start:
                listeners.on_start(info)
            progress = ProgressCallback(search, listeners.on_change, notices)
            with (
                study_copy(ledger, OptunaEncoder(space), experiment.study, notices),
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
        experiment = self.experiment
        space, directory = experiment.space, experiment.directory
        facts = {name: version(name) for name in ("ray", "optuna", "torch", "numpy")}
        facts |= {"python": platform.python_version(), **self.provenance}
        if experiment.study.url is not None:
            facts["study"] = without_password(experiment.study.url)
        if experiment.checkpoints is not None:
            facts["checkpoints"] = experiment.checkpoints
        folders.write_experiment(directory, space, experiment=directory.name, **facts)
        opened = Opened(
            digest=space.digest,
            devices=space.resources.devices,
            resumed=experiment.resumed,
            facts=facts | {"host": platform.node()},
        )
        open_session(experiment.ledger, opened)

    def _head_watched(self, closing: Closing) -> contextlib.AbstractContextManager[None]:
        on_lost = self.experiment.listeners.on_lost
        if on_lost is None:
            return contextlib.nullcontext()
        watch = HeadWatch(
            gcs_answers(),
            lambda: patience(self.joined.address, closing.signalled()),
            lambda silent: on_lost(closing.signalled()),
        )
        return watch.watching()

    def _info(self) -> ExperimentInfo:
        experiment, ledger = self.experiment, self.experiment.ledger
        return ExperimentInfo(
            name=experiment.directory.name,
            directory=experiment.directory,
            space=experiment.space,
            resumed=experiment.resumed,
            dashboard_url=self.joined.dashboard_url,
            token_hint=self.joined.token_hint,
            address=self.joined.address,
            resources=self.joined.resources,
            trials=ledger.trials,
            drained=ledger.drained,
            study=experiment.study.shown,
        )

    def _search(
        self,
        search: Search,
        closing: Closing,
        context: TrialContext,
        callbacks: Sequence[tune.Callback],
    ) -> None:
        """All trials. Not through `Tuner`, which pickles searcher and callbacks to the disk."""
        space, directory = search.space, self.experiment.directory
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
            callbacks=[watchdog, *callbacks, *self.experiment.listeners.callbacks],
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
        ledger.records(),
        ledger.confirmations(),
        budget_spent=closing.reason == "hours",
        interrupted=closing.interrupted,
        error=error,
    )
    ledger.close(Closed(result.complete, result.interrupted, error))
    return result


def last_line(problem: BaseException) -> str:
    """What it comes to: Ray puts the traceback before it."""
    lines = [line for line in str(problem).splitlines() if line.strip()]
    return lines[-1].strip()[-500:] if lines else type(problem).__name__


def _make(directory: Path) -> None:
    try:
        directory.mkdir(parents=True)
    except FileExistsError:  # another driver of the same second was faster
        raise NotNowError(f"{directory.name}: another search has just taken this name") from None


def _name_of(space: SearchSpace) -> Callable[[Trial], str]:
    def name(trial: Trial) -> str:
        return trial_name(space, int(trial.config["trial"]))

    return name
