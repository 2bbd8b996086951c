"""Whole experiments on a real Ray, with a training of milliseconds.

Every start of a trial costs five seconds of a core, for its process imports torch and Ray: what
can be decided without Ray is held without it, and here are as few trials as show the rest.
"""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import ray
import ray._private.state

from hpcm import ConfigError, import_parts
from tests.own_parts import as_before
from tests.tuning.fake_training import misbehave, train
from tests.tuning.ledger_lines import read_lines
from tests.tuning.lr_space import METRIC, lr_space
from tests.tuning.plays import decisions
from tests.tuning.test_imports import OWN
from tuning.ledger.ledger import Ledger, read_trials
from tuning.ledger.records import ExperimentInfo, TrialRecord
from tuning.on_ray.cluster import cluster
from tuning.on_ray.experiment import _make, run_experiment
from tuning.on_ray.node_checks import SharedPaths, _ask
from tuning.on_ray.node_facts import Inputs, differences, node_facts
from tuning.results.outcome import ExperimentResult
from tuning.simulation.recorded import Recorded
from tuning.simulation.simulate import simulate
from tuning.spaces.refusals import NotNowError

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One Ray for the module; its workers see this folder's ``FAKE_TRAINING``."""
    found = tmp_path_factory.mktemp("trainings")
    os.environ["FAKE_TRAINING"] = str(found)
    with cluster(None, dashboard=False):
        yield found
    del os.environ["FAKE_TRAINING"]


@pytest.fixture
def run(
    folder: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[..., ExperimentResult]]:
    """``run(resume=..., **sections)``: one experiment below ``tmp_path``."""

    def start(
        resume: str | None = None,
        on_start: Callable[[ExperimentInfo], None] | None = None,
        on_change: Callable[[Sequence[TrialRecord]], None] | None = None,
        **sections: dict[str, Any],
    ) -> ExperimentResult:
        return run_experiment(
            lr_space(tmp_path, **sections),
            storage=str(tmp_path / "storage"),
            resume=resume,
            on_start=on_start,
            on_change=on_change,
            train=train,
        )

    yield start
    for path in folder.iterdir():
        path.unlink()


def states(result: ExperimentResult) -> dict[int, str]:
    return {trial.number: trial.state for trial in result.trials}


def choices(*rates: float) -> dict[str, Any]:
    """A space of these learning rates; the first is the prior."""
    return {"optimizer.lr": {"type": "categorical", "choices": list(rates), "prior": rates[0]}}


def test_an_experiment_from_start_to_end(run: Any, folder: Path, tmp_path: Path) -> None:
    """One trial at a time, so that its simulation decides alike: two drivers of one `Search`."""
    started: list[ExperimentInfo] = []
    changes: list[int] = []
    actors: set[str] = set()

    def changed(trials: Sequence[TrialRecord]) -> None:
        changes.append(sum(t.epochs for t in trials))
        actors.update(a["ActorClassName"] for a in ray._private.state.actors().values())

    how: dict[str, Any] = {"scheduler": {"name": "promote", "pilots": 0, "control": 0.2}}
    how["searcher"] = {"name": "tpe", "seed": 0, "startup_trials": 2}
    result = run(
        budget={"trials": 3, "concurrent": 1}, on_start=started.append, on_change=changed, **how
    )
    assert "rates_trial" in actors
    assert ray.is_initialized()  # the module's, which is not ours to stop
    assert (result.complete, result.interrupted, result.error) == (True, False, None)
    assert len(result.trials) == 3
    assert set(states(result).values()) == {"stopped", "finished"}
    assert result.prior is result.trials[0]
    assert (result.prior.state, result.prior.epochs) == ("finished", 9)
    assert result.best is not None
    assert result.best.epochs == 9
    assert result.best.last[METRIC] <= result.prior.last[METRIC]
    assert 0 < result.hours_spent < result.hours_full
    assert changes[-1] == sum(t.epochs for t in result.trials)
    (info,) = started
    assert info.directory == tmp_path / "storage" / info.name
    assert read_trials(info.directory) == result.trials
    _look_at_the_files(info.directory, result)

    simulated = simulate(info.space, Recorded(info.space, result.trials, "rates"), slots=1)
    assert decisions(simulated.trials) == decisions(result.trials)

    with pytest.raises(ConfigError, match="fidelity.max: 9 -> 3"):
        run(resume=info.name, fidelity={"max": 3}, **how)
    lines = (folder / "epochs").read_text().splitlines()
    assert len(lines) == len(set(lines)) == sum(t.epochs for t in result.trials)


def _look_at_the_files(directory: Path, result: ExperimentResult) -> None:
    """Ray's own results are there, under recognisable names."""
    for trial in result.trials:
        own = directory / f"rates-{trial.number:04d}"
        rows = [json.loads(line) for line in (own / "result.json").read_text().splitlines()]
        assert [row[METRIC] for row in rows] == [r[METRIC] for r in trial.reports]
        assert (own / "progress.csv").exists()
        assert list(own.glob("events.out.tfevents.*"))
    assert list(directory.glob("rates-*")) == list(directory.glob("rates-????"))


def test_every_kind_of_failure_ends_its_trial_and_no_other(run: Any, folder: Path) -> None:
    rates = {"die_once": 2e-4, "diverge": 1e-2, "crash": 3e-2}
    misbehave(folder, **rates)
    result = run(
        parameters=choices(*rates.values()),
        searcher={"name": "grid"},
        scheduler={"name": "fifo"},
        fidelity={"min": 1, "max": 3},
    )
    assert result.complete
    again = "the same error twice, not tried again: RuntimeError: a cosmic ray"
    assert [(t.params["optimizer.lr"], t.state, t.retries, t.diverged) for t in result.trials] == [
        (2e-4, "finished", 1, False),
        (1e-2, "failed", 0, True),
        (3e-2, "failed", 1, False),
    ]
    reasons = [trial.reason for trial in result.trials if trial.state == "failed"]
    assert reasons == ["diverged: loss is inf", again]
    lines = [line.split() for line in (folder / "epochs").read_text().splitlines()]
    epochs = [int(epoch) for lr, epoch in lines if float(lr) == 2e-4]
    assert epochs == [1, 2, 1, 2, 3]  # epoch 2 broke, before anything was saved
    retried = {e["reason"] for e in read_lines(result.info.directory) if e["event"] == "retried"}
    died = "its process died (killed, or a crash in native code)"
    assert retried == {"RuntimeError: a cosmic ray", died}
    logs = result.info.directory / "rates-0002"
    assert "something odd was seen" in (logs / "stderr").read_text()
    # What Ray's dashboard calls the trial; stock: ImplicitFunc.
    assert f"repr={result.info.name}-0002" in (logs / "error.txt").read_text()


def test_the_end_of_the_hours_is_a_completion(run: Any) -> None:
    result = run(budget={"trials": 1, "hours": 1.0 / 3600})
    assert (result.complete, result.interrupted) == (True, False)
    assert [t.state for t in result.trials] == ["stopped"]
    assert "hours are spent" in str(result.trials[0].reason)
    more = run(budget={"trials": 1, "hours": 1.0}, resume="last")
    assert more.complete
    assert [(t.state, t.epochs) for t in more.trials] == [("finished", 9)]


def test_parts_of_an_imported_file_reach_the_workers(run: Any, tmp_path: Path) -> None:
    """Their search path has no folder with the file."""
    file = tmp_path / "search_parts.py"
    file.write_text(OWN)
    with as_before():
        import_parts([file])
        file.unlink()
        result = run(
            base={"balancer": {"name": "same"}},
            scheduler={"name": "mine"},
            fidelity={"min": 1, "max": 2},
            budget={"trials": 1},
        )
        assert result.complete, result.trials[0].reason
        assert result.info.space.config(result.trials[0].params).balancer.name == "same"


def test_a_node_is_asked_for_its_facts(folder: Path, tmp_path: Path) -> None:
    (node,) = ray.nodes()
    inputs = Inputs(("sample", "sample_val"), ("sample",))
    places = SharedPaths((tmp_path / "storage", tmp_path / "checkpoints"))
    ((facts, problems),) = _ask({"here": node}, inputs, places).values()
    assert (differences(node_facts(inputs), facts), problems) == ([], [])
    assert not list(tmp_path.iterdir())
    gone = {**node, "NodeID": "0" * 56}
    ((facts, problems),) = _ask({"gone": gone}, inputs, places).values()
    assert problems[0].startswith("cannot run anything: ")


def test_a_name_that_another_driver_was_faster_to_take(tmp_path: Path) -> None:
    _make(tmp_path / "rates-1")
    with pytest.raises(NotNowError, match="rates-1: another search has just taken this name"):
        _make(tmp_path / "rates-1")


def test_bad_input_creates_nothing(run: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a trial asks for 1 GPU"):
        run(resources={"gpu": 1, "cpu": 1})
    with pytest.raises(ConfigError, match="no such experiment"):
        run(resume="rates-20000101-000000")
    assert not (tmp_path / "storage").exists()


def test_finalists_are_trained_again_on_fresh_seeds(run: Any, folder: Path) -> None:
    """Killed by a signal in the middle, and resumed: every run is made once, to the end."""

    def interrupt(trials: Sequence[TrialRecord]) -> None:
        runs = [trial for trial in trials if trial.confirms is not None]
        if runs and not sent:
            sent.append(True)
            os.kill(os.getpid(), signal.SIGTERM)

    sent: list[bool] = []
    how: dict[str, Any] = {
        "parameters": choices(2e-4, 1e-4),
        "searcher": {"name": "grid"},
        "budget": {"trials": 2, "concurrent": 1},
        "fidelity": {"min": 1, "max": 2},
        "confirm": {"top": 1, "seeds": [7]},
    }
    before = signal.getsignal(signal.SIGTERM)
    first = run(on_change=interrupt, **how)
    assert (first.interrupted, first.complete) == (True, False)
    assert signal.getsignal(signal.SIGTERM) == before
    result = run(resume="last", **how)
    assert (result.interrupted, result.complete) == (False, True)
    ledger = Ledger(result.info.directory)
    runs = ledger.confirmations()
    assert [(r.confirms, r.seed, r.state) for r in runs] == [
        (0, 7, "finished"),
        (1, 7, "finished"),
    ]
    for one in runs:
        assert one.seed is not None
        of = ledger.trials[one.confirms or 0]
        assert one.last[METRIC] == pytest.approx(of.last[METRIC] + one.seed / 100)
    assert len(result.trials) == 2
    assert result.best is result.trials[1]
    trained = Counter((folder / "epochs").read_text().splitlines())
    # with the search's seed and with 7; the run had saved: no epoch was trained twice
    assert set(trained.values()) == {2}
