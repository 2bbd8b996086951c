"""One trial's life without Ray: what it reports, saves, and continues from."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from ray import tune

import hpcm
from tests.tuning.fake_training import misbehave, score, train
from tests.tuning.lr_space import METRIC, lr_space
from tuning.checkpoints.folders import LocalFolder
from tuning.checkpoints.store import CheckpointStore
from tuning.on_ray.diagnosis import StoreAwayError
from tuning.on_ray.trainable import TrialContext, run_trial, trainable
from tuning.on_ray.trial_keys import STOP_FILE
from tuning.spaces.sections import Resources

LR = 1e-3


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrialContext:
    monkeypatch.setenv("FAKE_TRAINING", str(tmp_path))
    directory = tmp_path / "rates-x"
    directory.mkdir()
    return TrialContext(lr_space(tmp_path), directory, train)


@pytest.fixture
def run(
    context: TrialContext, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[dict[str, Any]]]:
    """``run(until=None)``: the reports of one start of trial 1, ended by Ray after ``until``."""

    def start(until: int | None = None) -> list[dict[str, Any]]:
        told: list[dict[str, Any]] = []

        def report(metrics: dict[str, Any]) -> None:
            told.append(metrics)
            if until is not None and metrics.get("epoch") == until:
                raise GeneratorExit  # the actor is gone

        monkeypatch.setattr(tune, "report", report)
        try:
            run_trial({"trial": 1, "optimizer.lr": LR}, context)
        except GeneratorExit:
            assert until is not None
        return told

    return start


def epochs_trained(context: TrialContext) -> list[int]:
    lines = (context.directory.parent / "epochs").read_text().splitlines()
    return [int(line.split()[1]) for line in lines]


def saved(context: TrialContext) -> list[int]:
    return [int(found.metrics["epoch"]) for found in context.checkpoints(1).newest_first()]


def test_it_reports_every_epoch_and_saves_at_rungs(context: TrialContext, run: Any) -> None:
    told = run()
    assert [report["epoch"] for report in told] == list(range(1, 10))
    assert told[4][METRIC] == score(context.space.config({"optimizer.lr": LR}), 5)
    assert saved(context) == [9, 3]  # 1 was there until 9 came: two are kept


def test_a_checkpoint_lies_at_the_rung_when_it_is_decided(context: TrialContext, run: Any) -> None:
    run(until=3)
    assert saved(context) == [3, 1]


def test_a_second_start_continues_and_says_where_it_stands(context: TrialContext, run: Any) -> None:
    run(until=5)
    told = run()
    assert [report["epoch"] for report in told] == [3, 4, 5, 6, 7, 8, 9]
    assert told[0]["restored"] is True
    assert epochs_trained(context) == [1, 2, 3, 4, 5, 4, 5, 6, 7, 8, 9]


def test_a_trial_that_was_done_trains_no_more(context: TrialContext, run: Any) -> None:
    """Saved at the last epoch, and the driver died before it heard."""
    run()
    told = run()
    assert [(report["epoch"], report.get("restored")) for report in told] == [(9, True)]
    assert len(epochs_trained(context)) == 9


def test_one_that_stops_early_stays_as_it_is_to_the_last_rung(
    context: TrialContext, run: Any
) -> None:
    misbehave(context.directory.parent, early=LR)
    told = run()
    assert [report["epoch"] for report in told] == [1, 2, 3, 4, 5, 9]
    assert (told[-1][METRIC], told[-1]["train/seconds"]) == (told[-2][METRIC], 0.0)
    assert saved(context) == [5, 3]
    again = run()  # as where it was promoted, or its driver died
    assert [(report["epoch"], report.get("restored")) for report in again] == [(5, True), (9, None)]
    assert epochs_trained(context) == [1, 2, 3, 4, 5]


def test_a_damaged_checkpoint_falls_back_to_the_one_before(context: TrialContext, run: Any) -> None:
    """Stock Ray retries the damaged one until the trial is lost."""
    run(until=4)
    newest = next(context.checkpoints(1).newest_first()).folder
    (newest / "state.json").write_text('{"epoch": 3, "lr": 0}')
    assert [report["epoch"] for report in run(until=3)][:2] == [1, 2]
    for found in context.checkpoints(1).newest_first():
        (found.folder / "state.json").write_text('{"epoch": 3, "lr": 0}')
    told = run(until=2)  # none is left: from the start
    assert [(r["epoch"], r.get("restored")) for r in told] == [(1, None), (2, None)]


def test_what_was_passed_over_is_said(context: TrialContext, run: Any) -> None:
    run(until=4)
    newest = next(context.checkpoints(1).newest_first()).folder
    (newest / "state.json").write_text("{}")
    told = run(until=4)
    reason = "state.json is damaged: 2 bytes instead of 25"
    assert told[0]["notice"] == f"its checkpoint {newest.name} was passed over: {reason}"
    assert (told[0]["epoch"], told[0]["restored"]) == (1.0, True)
    assert not any("notice" in report for report in told[1:])


def test_a_store_that_is_away_at_the_start_is_told_apart(
    context: TrialContext, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(store: CheckpointStore) -> None:
        raise OSError("AWS Error NETWORK_CONNECTION")

    monkeypatch.setattr(CheckpointStore, "newest_first", away)
    with pytest.raises(StoreAwayError, match=r"^AWS Error NETWORK_CONNECTION$"):
        run()


def test_an_epoch_that_cannot_be_saved_costs_no_trial(
    context: TrialContext, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, an object store that is away."""
    write = LocalFolder.write

    def full(folder: LocalFolder, name: str, metrics: Any, save: Any) -> None:
        if name == "epoch-000003":
            raise OSError(28, "No space left on device")
        write(folder, name, metrics, save)

    monkeypatch.setattr(LocalFolder, "write", full)
    told = run()
    assert [report["epoch"] for report in told] == list(range(1, 10))
    assert {report["epoch"]: report["notice"] for report in told if "notice" in report} == {
        3: "its epoch 3 could not be saved: [Errno 28] No space left on device"
    }
    assert saved(context) == [9, 1]


def test_half_a_checkpoint_is_none(context: TrialContext, run: Any) -> None:
    store = context.checkpoints(1)

    def die(directory: Path) -> None:
        (directory / "state.json").write_text("{")
        raise KeyboardInterrupt

    run(until=2)
    with pytest.raises(KeyboardInterrupt):
        store.save(2, {"epoch": 2.0}, die)
    assert saved(context) == [1]
    store.sweep()
    assert [path.name for path in store.directory.iterdir()] == ["epoch-000001"]


def test_closing_saves_the_epoch_and_suspends(
    context: TrialContext, run: Any, monkeypatch: Any
) -> None:
    assert [r["epoch"] for r in run(until=2)] == [1, 2]
    monkeypatch.setattr(TrialContext, "closing", lambda self: len(epochs_trained(context)) >= 4)
    told = run()  # 2 (again), then 3; epoch 4 is the one at which it hears
    assert told[-1] == {"suspended": True}
    assert saved(context)[0] == told[-2]["epoch"]
    monkeypatch.undo()


def test_a_closing_experiment_starts_no_trial(context: TrialContext, run: Any) -> None:
    (context.directory / STOP_FILE).touch()
    assert run() == [{"suspended": True}]
    assert not (context.directory.parent / "epochs").exists()


def test_divergence_is_reported_and_not_raised(context: TrialContext, run: Any) -> None:
    misbehave(context.directory.parent, diverge=LR)
    assert run()[-1] == {"failed": "diverged: loss is inf", "diverged": True}


def test_a_refused_config_is_not_retried(context: TrialContext, run: Any, monkeypatch: Any) -> None:
    from hpcm import ConfigError

    def refuse(*_: Any, **__: Any) -> Any:
        raise ConfigError("data.train: no such set")

    broken = TrialContext(context.space, context.directory, refuse)
    told: list[Any] = []
    monkeypatch.setattr(tune, "report", told.append)
    run_trial({"trial": 1, "optimizer.lr": LR}, broken)
    assert told == [{"failed": "refused: data.train: no such set"}]


def test_an_exception_is_the_drivers_to_judge(context: TrialContext, run: Any) -> None:
    misbehave(context.directory.parent, crash=LR)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="a cosmic ray"):
            run()


def test_threads_follow_the_cores(tmp_path: Path) -> None:
    def threads(**resources: float) -> int | None:
        space = lr_space(tmp_path, resources=resources)
        return space.config(space.prior()).precision.threads

    assert threads(gpu=0, cpu=4) == 4
    assert threads(gpu=0, cpu=0.5) == 1
    assert threads(gpu=1, cpu=8) is None


def test_a_trial_on_two_gpus_is_trained_by_two_processes(
    context: TrialContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of `hpcm.local_processes`, which has tests of its own."""
    asked: list[Any] = []

    @contextmanager
    def local_processes(train: Any, count: int, dumps: Any) -> Iterator[Any]:
        asked.append((train, count, torch.get_num_threads()))
        yield lambda cfg, resume: asked.append("trained") or iter(())

    monkeypatch.setattr(hpcm, "local_processes", local_processes)
    monkeypatch.setattr(tune, "report", asked.append)
    space = replace(context.space, resources=Resources(gpu=2, cpu=2))
    run_trial({"trial": 1, "optimizer.lr": LR}, replace(context, space=space))
    assert asked == [(train, 2, 1), "trained"]
    request = trainable(replace(context, space=space)).default_resource_request({})
    assert request.bundles == [{"CPU": 2.0, "GPU": 2.0}]


def test_names_are_recognisable(context: TrialContext) -> None:
    assert context.space.trial_name(7) == "rates-0007"
    assert trainable(context).__name__ == "rates_trial"


def test_saving_takes_a_small_share_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("tuning.checkpoints.store.time.monotonic", lambda: now[0])
    store = CheckpointStore(tmp_path, "t")

    def slow(directory: Path) -> None:
        now[0] += 10.0

    assert not store.due()
    now[0] += 61.0
    assert store.due()
    store.save(1, {"epoch": 1.0}, slow)
    now[0] += 199.0
    assert not store.due()  # 10 s of saving are worth 200 s of training
    now[0] += 2.0
    assert store.due()
    assert math.isclose(now[0], 1272.0)


def test_a_trials_process_imports_what_it_needs() -> None:
    """A slot waits for it at every trial; the driver's modules would double that."""
    spare = ("optuna", "scipy", "sklearn", "sqlalchemy", "wandb", "cmaes")
    code = f"import sys, tuning.on_ray.trainable; print([n for n in {spare} if n in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
