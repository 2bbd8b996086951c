"""`run_experiment`: all trials of one search space, through Ray Tune, resumable.

Ray places trials and starts them again after a crash. What is known of them and what was decided is
in the ledger, what was learnt is in the checkpoints, in the experiment's directory or where
`--checkpoints` says. So a resume does not depend on Ray's own snapshot, which is up to ten seconds
old and holds no scheduler: it starts a new Ray run that continues the unfinished trials.
"""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ray import tune
from ray.exceptions import RayError
from ray.tune.experiment import Trial

import hpcm
from hpcm.schema import ConfigError
from tuning import storage as places
from tuning.checkpoints.places import experiment_place
from tuning.checkpoints.retention import refuse_lost, retention
from tuning.clusters.cluster import Cluster, cluster
from tuning.clusters.concurrency import GrowingLimiter
from tuning.clusters.standby import StandBy
from tuning.faults.closing import Closing
from tuning.faults.head_watch import HeadWatch, gcs_answers, patience
from tuning.faults.preflight import check_cluster, check_data, concurrent, concurrent_now
from tuning.faults.ray_repairs import a_killed_trial_ends_no_search
from tuning.faults.refusals import NotNowError
from tuning.faults.watchdog import Watchdog
from tuning.follow import Follow, OnChange
from tuning.ledger import Ledger
from tuning.metrics import SearchMetrics
from tuning.outcome import ExperimentResult, experiment_result
from tuning.records import ExperimentInfo, TrialRecord
from tuning.schedulers.build import build_scheduler
from tuning.searchers import warm_start
from tuning.searchers.proposer import build_searcher
from tuning.spaces.space import SearchSpace
from tuning.study.copy import study_copy
from tuning.study.outcomes import Outcomes
from tuning.study.storage import StudyPlace, study_place, without_password
from tuning.terminal.notices import Notices
from tuning.trainable import Place, TrainFunction, trainable, trial_name

OnStart = Callable[[ExperimentInfo], None]
OnNotice = Callable[[str], None]
OnLost = Callable[[bool], None]


def run_experiment(
    space: SearchSpace,
    *,
    storage: str = places.DEFAULT_STORAGE,
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
    happened (:mod:`tuning.follow`), ``on_notice`` what a person should know; all run in this
    thread. ``on_lost`` hears, in another one, that the head of the cluster is gone, and whether a
    signal had asked to end: it must end the process, for calls into Ray block. The copy of the
    study is kept in the PostgreSQL database ``study_url`` where one is given, and checkpoints in
    the folder or URL ``checkpoints``, which a resume knows. ``provenance`` is
    kept with the experiment. ``train`` is what a trial iterates. Raises :class:`ConfigError` for
    what a user can mend, before anything is created.
    """
    folder = places.storage_folder(storage)
    if resume is None:
        directory = _new_directory(space, folder, name)
    else:
        directory = places.find(folder, resume, space.name)
        places.refuse_changes(places.read_experiment(directory), space, directory.name)
        places.refuse_lost_ledger(directory)
    ledger = Ledger(directory, devices=space.resources.devices)
    if resume is not None:
        places.refuse_smaller_budget(ledger, space)
    earlier = warm_start.gather(space, folder, directory)
    if train is hpcm.train:
        check_data(space)
    notices = Notices(on_notice)
    study = study_place(directory, study_url, resume is not None, notices)
    checkpoints = experiment_place(directory, checkpoints, resume is not None)
    if resume is not None:
        refuse_lost(directory, space, checkpoints)
    with contextlib.ExitStack() as stack:
        if resume is not None:
            stack.enter_context(places.driving(directory))
        joined = stack.enter_context(cluster(address))
        at_a_time = concurrent(space)
        trains, resumed = train is hpcm.train, directory if resume is not None else None
        reference = check_cluster(
            space, folder, joined, trains=trains, resumed=resumed, checkpoints=checkpoints
        )
        if resume is None:
            _make(directory)
            stack.enter_context(places.driving(directory))
        warm_start.freeze(directory, earlier)
        for one in earlier:
            notices.tell(f"the searcher learns from {one}")
        session = _Session(
            space, ledger, joined, resume is not None, provenance or {}, study, on_lost
        )
        place = Place(space, directory, train, reference, checkpoints)
        return session.run(at_a_time, place, callbacks, on_start, on_change, notices)


@dataclass
class _Session:
    """One start of an experiment's driver."""

    space: SearchSpace
    ledger: Ledger  # as it was before this session had the lock
    joined: Cluster
    resumed: bool
    provenance: dict[str, Any]
    study: StudyPlace
    on_lost: OnLost | None

    @property
    def directory(self) -> Path:
        return self.ledger.path.parent

    def run(
        self,
        at_a_time: int,
        place: Place,
        callbacks: Sequence[tune.Callback],
        on_start: OnStart | None,
        on_change: OnChange | None,
        notices: Notices,
    ) -> ExperimentResult:
        ledger = self.ledger
        ledger.read_on()  # what another driver wrote meanwhile
        self._open(ledger, place.checkpoints_at)
        closing = Closing(self.directory, ledger, self.space.budget.hours)
        place = replace(place, stop_file=closing.stop_file)
        info = self._info(ledger)
        error: str | None = None
        with closing.on_signals(), a_killed_trial_ends_no_search(), self._head_watched(closing):
            if on_start:
                on_start(info)
            follow = Follow(ledger, on_change, notices)
            with (
                study_copy(ledger, Outcomes(self.space), self.study, notices),
                retention(ledger, self.space, place.checkpoints, notices),
            ):
                try:
                    told = [follow, SearchMetrics(ledger, self.space, at_a_time), *callbacks]
                    self._search(place, ledger, closing, at_a_time, told, notices.tell)
                except (tune.TuneError, RayError, OSError) as problem:
                    error = last_line(problem)
                result = self._close(ledger, closing, info, error)
        follow.tell()
        return result

    def _head_watched(self, closing: Closing) -> contextlib.AbstractContextManager[None]:
        heard = self.on_lost
        if heard is None:
            return contextlib.nullcontext()
        watch = HeadWatch(
            gcs_answers(),
            lambda: patience(self.joined.address, closing.signalled()),
            lambda silent: heard(closing.signalled()),
        )
        return watch.watching()

    def _open(self, ledger: Ledger, checkpoints: str | None) -> None:
        versions = {name: version(name) for name in ("ray", "optuna", "torch", "numpy")}
        facts = {"experiment": self.directory.name, "python": platform.python_version(), **versions}
        facts |= self.provenance
        if self.study.url is not None:
            facts["study"] = without_password(self.study.url)
        if checkpoints is not None:
            facts["checkpoints"] = checkpoints
        places.write_experiment(self.directory, self.space, **facts)
        broken = Closing.to_reopen(ledger)
        known: dict[str, Any] = {"digest": self.space.digest, "host": platform.node()}
        known["devices"] = self.space.resources.devices
        ledger.open(resumed=self.resumed, **known, **facts)
        for number in broken:
            ledger.append("reopened", number)
        for record in ledger.records():  # cut by an earlier end of the hours, not by a rung
            if record.state == "stopped" and record.rung_stopped_at is None:
                ledger.append("reopened", record.number)

    def _info(self, ledger: Ledger) -> ExperimentInfo:
        return ExperimentInfo(
            name=self.directory.name,
            directory=self.directory,
            space=self.space,
            resumed=self.resumed,
            dashboard_url=self.joined.dashboard_url,
            token_hint=self.joined.token_hint,
            address=self.joined.address,
            resources=self.joined.resources,
            trials=ledger.trials,
            drained=ledger.drained,
            study=self.study.shown,
        )

    def _search(
        self,
        place: Place,
        ledger: Ledger,
        closing: Closing,
        at_a_time: int,
        callbacks: Sequence[tune.Callback],
        tell: OnNotice,
    ) -> None:
        """All trials. Not through `Tuner`, which pickles searcher and callbacks to the disk."""
        space, resources = self.space, self.space.resources
        scheduler = build_scheduler(space, ledger, place.checkpoints)
        searcher = build_searcher(space, ledger, scheduler, closing.asked, tell)
        watchdog = Watchdog(space.faults, ledger, scheduler.recovery)
        tune.run(
            trainable(place),
            name=self.directory.name,
            storage_path=str(self.directory.parent),
            resources_per_trial={"cpu": resources.cpu, "gpu": resources.gpu},
            search_alg=GrowingLimiter(searcher, at_a_time, partial(concurrent_now, space)),
            scheduler=scheduler,
            num_samples=-1,  # the searcher knows the budget
            trial_name_creator=_name_of(space),
            trial_dirname_creator=_name_of(space),
            stop=closing,
            callbacks=[watchdog, StandBy(), *callbacks],
            max_failures=-1,  # the scheduler decides, see tuning/faults/recovery.py
            raise_on_failed_trial=False,
            log_to_file=True,
            sync_config=tune.SyncConfig(sync_artifacts=True),  # or the logs stay on the workers
            verbose=0,
        )
        if not closing.interrupted:
            scheduler.give_up()

    def _close(
        self, ledger: Ledger, closing: Closing, info: ExperimentInfo, error: str | None
    ) -> ExperimentResult:
        hours = self.space.budget.hours
        error = closing.problem or error
        if closing.reason == "hours" and error is None:
            for record in _all(ledger):
                if not record.ended:
                    ledger.append("stopped", record.number, reason=f"the {hours:g} hours are spent")
        result = experiment_result(
            info,
            ledger.records(),
            ledger.confirmations(),
            budget_spent=closing.reason == "hours",
            interrupted=closing.interrupted,
            error=error,
        )
        ledger.close(complete=result.complete, interrupted=result.interrupted, error=error)
        return result


def _all(ledger: Ledger) -> list[TrialRecord]:
    return [*ledger.records(), *ledger.confirmations()]


def last_line(problem: BaseException) -> str:
    """What it comes to: Ray puts the traceback before it."""
    lines = [line for line in str(problem).splitlines() if line.strip()]
    return lines[-1].strip()[-500:] if lines else type(problem).__name__


def _new_directory(space: SearchSpace, folder: Path, name: str | None) -> Path:
    name = name or places.new_name(space, folder)
    if (folder / name).exists():
        raise ConfigError(f"{name}: there is an experiment of this name in {folder}; --resume it")
    return folder / name


def _make(directory: Path) -> None:
    try:
        directory.mkdir(parents=True)
    except FileExistsError:  # another driver of the same second was faster
        raise NotNowError(f"{directory.name}: another search has just taken this name") from None


def _name_of(space: SearchSpace) -> Callable[[Trial], str]:
    def name(trial: Trial) -> str:
        return trial_name(space, int(trial.config["trial"]))

    return name
