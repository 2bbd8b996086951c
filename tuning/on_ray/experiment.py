"""A search on Ray: an experiment is created or reopened, and its trials run to their end.

Ray places trials. What is known of them and what was decided is in the ledger, what was learnt is
in the checkpoints, in the experiment's directory or where `--checkpoints` says. So a resume does
not depend on Ray's own snapshot, which is up to ten seconds old and holds no scheduler: it starts a
new Ray run that continues the unfinished trials.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune

import hpcm
from hpcm.schema import ConfigError
from tuning.checkpoints.places import experiment_place
from tuning.checkpoints.retention import refuse_lost
from tuning.ledger import folders
from tuning.ledger.driver_lock import driving
from tuning.ledger.ledger import Ledger
from tuning.ledger.notices import Notices
from tuning.on_ray.cluster import cluster
from tuning.on_ray.node_facts import Inputs, input_facts
from tuning.on_ray.preflight import check_cluster, check_data, concurrent, trial_inputs
from tuning.on_ray.progress_callback import OnChange
from tuning.on_ray.session import Listeners, OnLost, OnNotice, OnStart, Session
from tuning.on_ray.trainable import TrainFunction, TrialContext
from tuning.results.outcome import ExperimentResult
from tuning.search import warm_start
from tuning.search.reference_reuse import WHERE, Reports, gather_references
from tuning.spaces import defaults
from tuning.spaces.refusals import NotNowError
from tuning.spaces.space import SearchSpace
from tuning.watching.study_storage import StudyPlace, study_place


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
    for path, problem in space.scheduler.problems(space):  # a recorded one may be gone
        raise ConfigError(f"{path}: {problem}")
    listeners = Listeners(on_start, on_change, Notices(on_notice), on_lost, tuple(callbacks))
    facts = provenance or {}
    folder = folders.storage_folder(storage)
    if resume is None:
        experiment = Experiment.create(space, folder, name, study_url, checkpoints, listeners)
    else:
        experiment = Experiment.reopen(space, folder, resume, study_url, checkpoints, listeners)
    return experiment.run(train, address, facts)


@dataclass(frozen=True)
class Experiment:
    """One experiment that is about to run, checked as far as is possible without a cluster."""

    space: SearchSpace
    ledger: Ledger
    resumed: bool
    earlier: list[warm_start.Earlier]
    references: dict[float, Reports]  # that are not trained, by lmbda
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
            references=gather_references(space, folder),
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
        """An earlier experiment, to go on; refused if the space changed or something is lost."""
        directory = folders.find(folder, resume, space.name)
        folders.refuse_other_parts(directory)
        folders.refuse_changes(folders.read_experiment(directory), space, directory.name)
        folders.refuse_lost_ledger(directory)
        ledger = Ledger(directory, devices=space.resources.devices)
        folders.refuse_another_ledger(ledger)
        folders.refuse_simulated(ledger, "--resume")
        folders.refuse_smaller_budget(ledger, space)
        place = experiment_place(directory, checkpoints, True)
        refuse_lost(directory, space, place)
        return cls(
            space=space,
            ledger=ledger,
            resumed=True,
            earlier=warm_start.gather(space, folder, directory),
            references=gather_references(space, folder, ledger),
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
        inputs = trial_inputs(space) if trains else Inputs()
        read = input_facts(inputs)
        self._refuse_other_inputs(read)
        with contextlib.ExitStack() as stack:
            if self.resumed:
                stack.enter_context(driving(self.directory))
            joined = stack.enter_context(cluster(address))
            at_a_time = concurrent(space)
            reference = check_cluster(
                space,
                folder,
                joined,
                trains=trains,
                inputs=inputs,
                read=read,
                resumed=self.directory if self.resumed else None,
                checkpoints=self.checkpoints,
            )
            if not self.resumed:
                _make(self.directory)
                stack.enter_context(driving(self.directory))
            warm_start.freeze(self.directory, self.earlier)
            for one in self.earlier:
                self.listeners.notices.add(f"the searcher learns from {one}")
            context = TrialContext(space, self.directory, train, reference, self.checkpoints)
            return Session(
                space,
                self.ledger,
                self.resumed,
                self.study,
                self.listeners,
                joined,
                context,
                at_a_time,
                provenance | {"read": read},
                self.references,
            ).run()

    def _refuse_other_inputs(self, read: Mapping[str, str]) -> None:
        """Raise :class:`ConfigError` if its own scores, or those it takes, are of other inputs."""
        if self.resumed:
            folders.refuse_other_inputs(self.directory, read, f"--resume {self.directory.name}")
        elif name := self.space.objective.reference.experiment:
            folders.refuse_other_inputs(self.directory.parent / name, read, f"{WHERE}: {name}")


def _make(directory: Path) -> None:
    try:
        directory.mkdir(parents=True)
    except FileExistsError:  # another driver of the same second was faster
        raise NotNowError(f"{directory.name}: another search has just taken this name") from None
