"""The copy of the study in PostgreSQL: a real server, stopped and started in the middle too."""

from __future__ import annotations

import builtins
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from optuna.trial import TrialState
from optuna_dashboard._storage_url import get_storage

from hpcm import ConfigError
from tests.tuning.postgresql import PASSWORD, QUOTED, Server, server
from tests.tuning.study_session import Session
from tuning.ledger.events import Finished, Stopped
from tuning.ledger.notices import Notices
from tuning.watching.background_writer import Target
from tuning.watching.study_storage import (
    DatabaseAwayError,
    StudyPlace,
    check_database,
    database,
    parse_study_url,
    study_place,
    without_password,
)


@pytest.fixture(scope="module")
def shared() -> Iterator[Server]:
    with server() as found:
        yield found


@pytest.fixture
def postgresql(shared: Server) -> Server:
    """The module's server with an empty database ``hpcm``, started where a test had it stopped."""
    engine = sqlalchemy.create_engine(shared.url(), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("DROP DATABASE IF EXISTS hpcm WITH (FORCE)"))
        connection.execute(sqlalchemy.text("CREATE DATABASE hpcm"))
    engine.dispose()
    return shared


@pytest.fixture
def session(
    tmp_path: Path, postgresql: Server, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], Session]]:
    """A start of a driver whose study goes to the server's database ``hpcm``."""
    monkeypatch.setattr(Target, "interval", 0.02)
    monkeypatch.setattr(Target, "at_the_end", 120.0)  # a busy machine takes its time
    monkeypatch.setattr(Target, "longest_pause", 0.1)
    monkeypatch.setattr("random.random", lambda: 0.0)  # Optuna sleeps so long between attempts
    sessions: list[Session] = []

    def start() -> Session:
        url = parse_study_url(postgresql.url(database="hpcm"))
        sessions.append(Session(tmp_path, place=StudyPlace(tmp_path / "rates-x", url)))
        return sessions[-1]

    yield start
    for session in sessions:
        session.end()


def trials(server: Server) -> list[Any]:
    """The study as optuna-dashboard opens it, by the URL."""
    storage: Any = get_storage(server.url(database="hpcm"))
    try:
        (study,) = storage.get_all_studies()
        return list(storage.get_all_trials(study._study_id))
    finally:
        storage.remove_session()
        storage.engine.dispose()


def test_a_live_search_stands_in_the_database(
    session: Callable[[], Session], postgresql: Server
) -> None:
    run = session()
    for number, (epochs, end) in enumerate(((9, Finished), (3, Stopped), (2, None))):
        run.play(number, epochs, end)
    assert run.copy.settle(), run.messages
    found = trials(postgresql)
    expected = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING]
    assert [t.state for t in found] == expected
    for trial, record in zip(found, run.ledger.records(), strict=True):
        assert trial.intermediate_values == record.curve(run.encoder.metric)
        assert trial.params == record.params
    run.end()
    again = session()  # a resume adopts what is there
    again.play(2, 9, Finished, first=3)
    assert again.copy.settle(), again.messages
    found = trials(postgresql)
    assert [t.state for t in found] == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.COMPLETE]
    assert len(found[2].intermediate_values) == 9


def test_a_server_that_is_stopped_and_started_is_caught_up_with(
    session: Callable[[], Session], postgresql: Server
) -> None:
    run = session()
    run.play(0)
    assert run.copy.settle(), run.messages
    postgresql.stop()
    try:
        for number in (1, 2):
            run.play(number, 9, Stopped)
            assert not run.copy.settle()
    finally:
        postgresql.start()
    run.play(3)
    run.catch_up()
    assert [t.state for t in trials(postgresql)] == [
        TrialState.COMPLETE,
        TrialState.PRUNED,
        TrialState.PRUNED,
        TrialState.COMPLETE,
    ]
    run.end()
    shown = f"the study in postgresql://ann@127.0.0.1:{postgresql.port}/hpcm"
    assert len(run.messages) == 2, run.messages
    assert run.messages[0].startswith(f"{shown} cannot be written: ")
    assert run.messages[1] == f"{shown} is up to date again"


def test_a_server_that_stays_away_leaves_the_study_to_the_next_resume(
    session: Callable[[], Session], postgresql: Server
) -> None:
    run = session()
    assert run.copy.settle(), run.messages
    postgresql.stop()
    try:
        run.play(0)
        run.end()
    finally:
        postgresql.start()
    assert "is behind the ledger; the next --resume brings it up" in run.messages[-1]
    again = session()
    assert again.copy.settle(), again.messages
    assert [t.state for t in trials(postgresql)] == [TrialState.COMPLETE]


def test_another_experiments_study_is_not_touched(
    session: Callable[[], Session], postgresql: Server, tmp_path: Path
) -> None:
    run = session()
    run.play(0)
    assert run.copy.settle()
    run.end()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    url = parse_study_url(postgresql.url(database="hpcm"))
    with pytest.raises(ConfigError, match="holds a study rates-x already; give another name"):
        check_database(url, "rates-x", new=True)
    other = Session(elsewhere, place=StudyPlace(elsewhere / "rates-x", url))
    assert not other.copy.settle()
    other.end()
    assert "the study rates-x there belongs to another experiment" in other.messages[0]
    assert len(trials(postgresql)) == 1


def refusal(text: str, new: bool = True) -> str:
    with pytest.raises(ConfigError) as raised:
        check_database(parse_study_url(text), "rates-x", new=new)
    message = str(raised.value)
    assert "\n" not in message
    for secret in (PASSWORD, QUOTED, "hunter2"):
        assert secret not in message
    return message


def test_what_a_person_can_mend_is_told_in_one_line(postgresql: Server) -> None:
    text = refusal(postgresql.url("ann:hunter2", "hpcm"))
    assert text.startswith(f"--study-url postgresql://ann@127.0.0.1:{postgresql.port}/hpcm: ")
    assert 'password authentication failed for user "ann"' in text
    assert 'database "hpmc" does not exist' in refusal(postgresql.url(database="hpmc"))
    nowhere = f"postgresql://ann:{QUOTED}@127.0.0.1:1/hpcm"
    assert "Connection refused" in refusal(nowhere)
    engine = sqlalchemy.create_engine(postgresql.url(database="hpcm"))
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("DROP ROLE IF EXISTS bob"))
        connection.execute(sqlalchemy.text("CREATE ROLE bob LOGIN PASSWORD 'hunter2'"))
    engine.dispose()
    assert "permission denied for schema public" in refusal(postgresql.url("bob:hunter2", "hpcm"))


def test_the_password_may_come_from_libpqs_own_places(
    postgresql: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgresql.url("ann", "hpcm")
    assert "no password supplied" in refusal(url)
    passwords = tmp_path / "pgpass"
    escaped = PASSWORD.replace(":", "\\:")
    passwords.write_text(f"127.0.0.1:{postgresql.port}:hpcm:ann:{escaped}\n")
    passwords.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(passwords))
    check_database(parse_study_url(url), "rates-x", new=True)


def test_a_resume_does_not_wait_for_a_server_that_is_away(
    postgresql: Server, tmp_path: Path
) -> None:
    (tmp_path / "experiment.json").write_text('{"space": {}}')
    away = "postgresql://ann:hunter2@127.0.0.1:1/hpcm"
    with pytest.raises(DatabaseAwayError, match="Connection refused"):
        study_place(tmp_path, away, False, Notices())
    assert study_place(tmp_path, away, True, Notices()).shown == "postgresql://ann@127.0.0.1:1/hpcm"
    wrong = postgresql.url("ann:hunter2", "hpcm")
    with pytest.raises(ConfigError, match="password authentication failed"):
        study_place(tmp_path, wrong, True, Notices())


def test_tables_of_another_optuna_are_refused(postgresql: Server) -> None:
    url = parse_study_url(postgresql.url(database="hpcm"))
    check_database(url, "rates-x", new=True)
    storage = database(url)
    with storage.engine.begin() as connection:
        connection.execute(sqlalchemy.text("UPDATE alembic_version SET version_num = 'v9.9.9.a'"))
    StudyPlace(Path(), url).close(storage)
    assert "is no longer compatible with the table schema" in refusal(
        postgresql.url(database="hpcm")
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mysql://ann:hunter2@db/hpcm", "--study-url mysql://ann@db/hpcm: no mysql is supported"),
        ("sqlite:///x.db", "no sqlite is supported; must be postgresql://user@host:5432/database"),
        ("postgresql://ann:hunter2@db", "--study-url postgresql://ann@db: names no database"),
        ("ann:hunter2@db", "not a URL; must be postgresql://user@host:5432/database"),
        ("postgresql://ann:hunter2@db:port/x", "--study-url: not a URL; must be"),
    ],
)
def test_what_is_no_url_of_a_database_is_refused(text: str, message: str) -> None:
    assert message in refusal(text)


def test_a_missing_driver_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    imports = builtins.__import__

    def without(name: str, *more: Any) -> Any:
        if name == "psycopg":
            raise ModuleNotFoundError("No module named 'psycopg'")
        return imports(name, *more)

    monkeypatch.setattr(builtins, "__import__", without)
    text = refusal("postgresql://ann:hunter2@127.0.0.1:1/hpcm")
    assert text.endswith("psycopg is not installed: pip install 'hpcm-tune[postgresql]'")


def test_what_is_written_down_leads_there_without_the_secret() -> None:
    url = parse_study_url(f"postgres://ann:{QUOTED}@/hpcm?host=/run/pg&sslpassword=hunter2")
    assert without_password(url) == "postgresql://ann@/hpcm?host=%2Frun%2Fpg"
    assert "hunter2" not in repr(StudyPlace(Path("x"), url))


def test_a_resume_without_the_url_says_where_the_study_was(tmp_path: Path) -> None:
    messages: list[str] = []
    notices = Notices(messages.append)
    record = {"space": {}, "study": "postgresql://ann@db/hpcm"}
    (tmp_path / "experiment.json").write_text(json.dumps(record))
    place = study_place(tmp_path, None, True, notices)
    notices.hand_on()
    assert place.shown == str(tmp_path / "study.journal")
    assert messages == [
        "the study was kept in postgresql://ann@db/hpcm, whose URL is not written down; give it as"
        " --study-url or HPCM_STUDY_URL to go on there; now it is study.journal"
    ]
