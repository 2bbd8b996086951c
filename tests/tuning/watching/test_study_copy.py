"""The study that people look at: what Optuna hears, without the search waiting for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from tests.tuning.lr_space import METRIC, kill, open_ledger
from tests.tuning.study_session import End, Session, diverged
from tuning.ledger.events import Failed, Finished, Paused, Reopened, Report, Stopped, Suspended
from tuning.watching.background_writer import Target
from tuning.watching.study_storage import STUDY_FILE, StudyPlace
from tuning.watching.study_writer import StudyWriter


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Target, "interval", 0.01)
    monkeypatch.setattr(Target, "at_the_end", 120.0)  # a busy machine takes its time


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Callable[..., Session]]:
    """``session(**)``: a start of the driver; one that is left open is ended."""
    sessions: list[Session] = []

    def start(**given: Any) -> Session:
        sessions.append(Session(tmp_path, **given))
        return sessions[-1]

    yield start
    for session in sessions:
        session.end()


def test_optuna_hears_the_truth(session: Callable[..., Session]) -> None:
    """Stock OptunaSearch tells stopped ones COMPLETE and leaves diverged ones RUNNING."""
    run = session()
    for number, (epochs, end) in enumerate(
        ((9, Finished), (3, Stopped), (2, diverged), (1, Failed), (2, None))
    ):
        run.play(number, epochs, end)
    finished, stopped, gone, failed, running = found = run.trials()
    assert [t.state for t in found] == [
        TrialState.COMPLETE,
        TrialState.PRUNED,
        TrialState.COMPLETE,
        TrialState.FAIL,
        TrialState.RUNNING,
    ]
    curve = run.ledger.trials[1].curve(METRIC)
    assert stopped.intermediate_values == curve
    assert stopped.value == curve[3]
    assert len(finished.intermediate_values) == 9
    assert len(running.intermediate_values) == 2
    assert 3.0 <= gone.value <= 5.0  # on_diverged: worst, of all when it was told
    assert gone.user_attrs == {"trial": 2, "reason": "diverged: inf"}
    assert (failed.value, running.value) == (None, None)


@pytest.mark.parametrize(
    ("objective", "names"),
    [
        ({}, ["rd_cost"]),
        ({"metric": "val_psnr", "mode": "max"}, ["PSNR, dB"]),
        ({"pareto": ["val_bpp", "val_psnr"]}, ["bpp", "PSNR, dB"]),
    ],
)
def test_the_values_have_names(
    session: Callable[..., Session],
    tmp_path: Path,
    objective: dict[str, Any],
    names: list[str],
) -> None:
    """optuna-dashboard calls them "Objective 0" otherwise; a copy of before gets them too."""
    path = tmp_path / "rates-x" / STUDY_FILE
    for _ in range(2):
        run = session(objective=objective)
        assert run.copy.settle(), run.messages
        (study,) = JournalStorage(JournalFileBackend(str(path))).get_all_studies()
        assert study.system_attrs["study:metric_names"] == names
        run.end()


def test_a_trial_that_finished_without_a_score_stops_no_copy(
    session: Callable[..., Session],
) -> None:
    """Its rate at equal quality may lie outside the reference curve; Optuna wants a value."""
    run = session()
    run.play(0, 0)
    run.play(1, 9)
    assert [t.state for t in run.trials()] == [TrialState.FAIL, TrialState.COMPLETE]
    assert run.messages == []


def test_a_diverged_trial_fails_where_the_space_says_so(session: Callable[..., Session]) -> None:
    run = session(objective={"on_diverged": "fail"})
    run.play(0, 2, diverged)
    assert run.trials()[0].state == TrialState.FAIL


@pytest.mark.parametrize("event", [Suspended, partial(Paused, reason="rank 2 of 2 at epoch 3")])
def test_a_trial_that_goes_on_has_no_outcome_yet(
    session: Callable[..., Session], event: End
) -> None:
    run = session()
    run.play(0, 2, event)
    assert run.trials()[0].state == TrialState.RUNNING


def test_an_outcome_that_optuna_missed_is_told_after_a_kill(
    session: Callable[..., Session],
) -> None:
    """The window in which stock OptunaSearch with a storage dies of UpdateFinishedTrialError."""
    run = session()
    run.play(0, 2, None)
    run.play(1, 2, None)
    run.trials()
    run.end()
    ledger = open_ledger(run.folder)  # written by a driver that was killed before Optuna heard
    ledger.append(Finished(0))
    kill(ledger)
    again = session()
    assert [t.state for t in again.trials()] == [TrialState.COMPLETE, TrialState.RUNNING]
    again.play(1, 9, Finished, first=3)
    assert [t.state for t in again.trials()] == [TrialState.COMPLETE] * 2
    assert len(again.trials()[1].intermediate_values) == 9


def test_a_trial_that_the_ledger_never_saw_is_failed(session: Callable[..., Session]) -> None:
    run = session()
    run.play(0, 1, None)
    run.trials()
    target: Any = run.copy.target
    writer = target._writer
    stranger = run.encoder.frozen(run.ledger.trials[0], None)
    stranger.user_attrs = {}
    writer.storage.create_new_trial(writer._study_id, stranger)
    run.end()
    assert [t.state for t in session().trials()] == [TrialState.RUNNING, TrialState.FAIL]


@pytest.mark.parametrize("watched", [True, False], ids=["told between", "missed between"])
def test_a_prolonged_trial_gets_a_new_entry(session: Callable[..., Session], watched: bool) -> None:
    """Cut by the end of the hours, then continued: Optuna's ended trial stays as it was."""
    run = session()
    run.play(0, 3, Stopped)
    run.trials()
    run.end()
    again = session() if watched else None
    ledger = again.ledger if again else open_ledger(run.folder)
    ledger.append(Reopened(0))
    if again:
        again.trials()
    for epoch in range(4, 10):
        ledger.append(Report(0, metrics={"epoch": float(epoch), METRIC: 1 / epoch}))
    ledger.append(Finished(0))
    if not again:
        kill(ledger)
        again = session()
    found = again.trials()
    assert [t.state for t in found] == [TrialState.PRUNED, TrialState.COMPLETE]
    assert len(found[1].intermediate_values) == 9


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "not there": lambda whole: b"",
    "its last line cut": lambda whole: whole[:-20],
    "its last line cut, and ended": lambda whole: whole[:-20] + b"\n",
    "a line cut in the middle": lambda whole: whole.replace(b"}\n{", b"\n{", 1),
    "no text": lambda whole: b"\xff{}\n",
    "a line too few": lambda whole: b"".join(whole.splitlines(keepends=True)[1:]),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_study_is_made_anew_from_the_ledger(
    session: Callable[..., Session], damage: Callable[[bytes], bytes]
) -> None:
    run = session()
    for number in range(2):
        run.play(number)
    run.trials()
    run.end()
    study = run.folder / "rates-x" / STUDY_FILE
    study.write_bytes(damage(study.read_bytes()))
    lock = study.with_name(f"{STUDY_FILE}.lock")
    lock.symlink_to(study)  # a driver was killed while it wrote; Optuna would wait 30 s
    again = session()
    again.play(2)
    found = {trial.user_attrs["trial"]: trial.state for trial in again.trials()}
    assert found == dict.fromkeys(range(3), TrialState.COMPLETE)
    assert not lock.is_symlink()


def test_a_line_torn_in_the_middle_of_a_session_is_mended_and_said_once(
    session: Callable[..., Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk: Optuna leaves half a line, and would join the next one to it."""
    run = session()
    run.play(0)
    run.trials()
    full = threading.Event()
    full.set()
    write = JournalFileBackend.append_logs

    def append(backend: JournalFileBackend, logs: list[dict[str, Any]]) -> None:
        if full.is_set():
            with (run.folder / "rates-x" / STUDY_FILE).open("ab") as file:
                file.write(b'{"op_code": 4, "stu')
            raise OSError(28, "No space left on device")
        write(backend, logs)

    monkeypatch.setattr(JournalFileBackend, "append_logs", append)
    for number in (1, 2, 3):  # the search does not notice
        run.play(number)
        assert not run.copy.settle()
    full.clear()
    run.catch_up()
    found = {trial.user_attrs["trial"]: trial.state for trial in run.trials()}
    assert found == dict.fromkeys(range(4), TrialState.COMPLETE)
    run.notices.hand_on()
    seen = [text.partition(STUDY_FILE)[2] for text in run.messages]
    assert seen == [
        " cannot be written: [Errno 28] No space left on device; the search goes on, and it"
        " follows when it can",
        " is up to date again",
    ]


def test_a_storage_that_hangs_blocks_neither_the_search_nor_its_end(
    session: Callable[..., Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Target, "at_the_end", 0.05)
    entered, release = threading.Event(), threading.Event()

    def hang(place: StudyPlace) -> BaseStorage:
        entered.set()
        release.wait()
        return JournalStorage(JournalFileBackend(str(place.directory / STUDY_FILE)))

    monkeypatch.setattr(StudyPlace, "open", hang)
    run = session()
    assert entered.wait(10)
    for number in range(3):
        run.play(number)
    run.end()
    assert ["is behind the ledger" in text for text in run.messages] == [True]
    release.set()
    run.copy._thread.join(10)
    assert run.copy.ended


def test_what_is_noted_is_a_picture_of_that_moment(
    session: Callable[..., Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver changes its records while the thread writes."""
    entered, release = threading.Event(), threading.Event()
    sync = StudyWriter.sync

    def slow(writer: Any, record: Any, records: Any) -> None:
        entered.set()
        release.wait(10)
        sync(writer, record, records)

    run = session()
    run.propose(0)
    run.trials()
    monkeypatch.setattr(StudyWriter, "sync", slow)
    run.play(0, 2, None)
    assert entered.wait(10)
    noted = run.copy._known[0]
    epochs = noted.epochs
    run.play(0, 9, Finished, first=3)
    assert (noted.epochs, noted.state) == (epochs, "running")
    release.set()
    assert [t.state for t in run.trials()] == [TrialState.COMPLETE]


def test_every_report_is_told_once(
    session: Callable[..., Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[dict[str, Any]] = []
    write = JournalFileBackend.append_logs

    def append(backend: JournalFileBackend, logs: list[dict[str, Any]]) -> None:
        lines.extend(logs)
        write(backend, logs)

    monkeypatch.setattr(JournalFileBackend, "append_logs", append)
    run = session()
    for number in range(3):
        run.play(number, 9, None)
    run.trials()
    run.end()
    again = session()
    again.play(0, 12, Finished, first=10)
    again.trials()
    found = [(line["trial_id"], line["step"]) for line in lines if line["op_code"] == 7]
    assert len(found) == len(set(found))
    assert len(lines) <= 2 + 3 * 9 + 3 + 5  # study, owner, proposals, reports, outcome, reason
