"""Where the copy of the study is kept: a journal file of the experiment, or a PostgreSQL database.

A journal file and not SQLite: an ask, ten reports and an outcome take 7.5 ms instead of 79 ms
(Optuna 5.0, local disk, docs/log.md), readers on a shared filesystem are what the format is made
for, and optuna-dashboard needs only its path.

The database's URL may hold a password. It stays in this process: records, logs and messages have
:attr:`StudyPlace.shown`, a resume needs the URL again.
"""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy.engine import URL
from sqlalchemy.exc import (
    ArgumentError,
    IntegrityError,
    OperationalError,
    ProgrammingError,
    SQLAlchemyError,
)

from hpcm.schema import ConfigError
from tuning.ledger.folders import STUDY_FILE, read_provenance
from tuning.ledger.lines import cut_torn_line
from tuning.ledger.notices import Notices
from tuning.ledger.redaction import redacted
from tuning.spaces.defaults import STUDY_URL_FORM, STUDY_URL_VARIABLE

DIALECT = "postgresql+psycopg://"
DIALECTS = ("postgresql", "postgres", "postgresql+psycopg")
#: A server that answers no more is noticed within 20 s (libpq's parameters).
CONNECTION = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 20_000,
    "application_name": "hpcm-tune",
}


REFUSAL = "FATAL"  # how a server that answers begins to say why it does not take a connection
NOT_NOW = ("starting up", "shutting down", "in recovery mode", "too many")


class DatabaseAwayError(ConfigError):
    """No server answers, or it takes no connection at the moment."""


@dataclass(frozen=True)
class StudyPlace:
    """The file ``study.journal`` in ``directory``, unless a database is given."""

    directory: Path  # of the experiment
    url: URL | None = field(default=None, repr=False)

    @property
    def shown(self) -> str:
        """What ``optuna-dashboard`` opens, without a password."""
        return str(self.directory / STUDY_FILE) if self.url is None else without_password(self.url)

    def open(self) -> BaseStorage:
        """The storage, its tables made if there are none. Raises what goes wrong."""
        return journal(self.directory) if self.url is None else database(self.url)

    def close(self, storage: BaseStorage) -> None:
        """Give connections back, the broken ones too."""
        if isinstance(storage, RDBStorage):
            with contextlib.suppress(SQLAlchemyError):
                storage.remove_session()
                storage.engine.dispose()


def study_place(directory: Path, text: str | None, resumed: bool, notices: Notices) -> StudyPlace:
    """Where the study of an experiment goes: into the database at URL ``text``, else into its file.

    Says so if an earlier start had it in a database. Raises :class:`ConfigError` if it cannot be
    kept there; a server that is only away is refused at the first start, and not at a resume.
    """
    if text:
        url = parse_study_url(text)
        try:
            check_database(url, directory.name, new=not resumed)
        except DatabaseAwayError:  # holds up no search that has begun; the copy says so
            if not resumed:
                raise
        return StudyPlace(directory, url)
    before = read_provenance(directory).get("study") if resumed else None
    if before:
        notices.add(
            f"the study was kept in {before}, whose URL is not written down; give it as --study-url"
            f" or {STUDY_URL_VARIABLE} to go on there; now it is {STUDY_FILE}"
        )
    return StudyPlace(directory)


def parse_study_url(text: str) -> URL:
    """The URL of a PostgreSQL database. Raises :class:`ConfigError`, never showing a password."""
    try:
        url = sqlalchemy.make_url(text)
    except (ArgumentError, ValueError):
        raise ConfigError(
            f"--study-url: not a URL; must be {STUDY_URL_FORM}"
        ) from None  # nor shown
    if url.drivername not in DIALECTS:
        raise ConfigError(
            f"--study-url {without_password(url)}: no {url.drivername} is supported; must be"
            f" {STUDY_URL_FORM}"
        )
    if not url.database:
        raise ConfigError(
            f"--study-url {without_password(url)}: names no database; must be {STUDY_URL_FORM}"
        )
    return url.set(drivername="postgresql+psycopg")


def without_password(url: URL) -> str:
    """The URL as it may be written down: where it leads, and nothing that might be a secret."""
    name = url.drivername.partition("+")[0]
    query = {key: value for key, value in url.query.items() if key in ("host", "port", "sslmode")}
    shown = URL.create(name, url.username, None, url.host, url.port, url.database, query)
    return shown.render_as_string()


def check_database(url: URL, study: str, new: bool) -> None:
    """Raise :class:`ConfigError` if the copy of ``study`` cannot be kept in the database.

    ``new``: the study must not be there yet. Makes Optuna's tables if there are none.
    """
    shown = f"--study-url {without_password(url)}"
    try:
        storage = database(url)
        try:
            names = {found.study_name for found in storage.get_all_studies()}
        finally:
            StudyPlace(Path(), url).close(storage)
    except Exception as error:  # the driver's, SQLAlchemy's, Optuna's: whichever comes first
        reason = reason_of(error, url)
        away = isinstance(error, OperationalError) and (
            REFUSAL not in reason or any(words in reason for words in NOT_NOW)
        )
        raise (DatabaseAwayError if away else ConfigError)(f"{shown}: {reason}") from None
    if new and any(name.split(" ")[0] == study for name in names):  # or of several metrics
        raise ConfigError(f"{shown}: holds a study {study} already; give another name or database")


def reason_of(error: BaseException, url: URL | None = None) -> str:
    """What a person has to know of an error of a storage, in one line without a secret."""
    if isinstance(error, ModuleNotFoundError) or isinstance(error.__cause__, ModuleNotFoundError):
        return "the driver psycopg is not installed: pip install 'hpcm-tune[postgresql]'"
    while isinstance(error.__cause__, SQLAlchemyError):  # Optuna wraps it, and adds nothing
        error = error.__cause__
    origin = getattr(error, "orig", None) or error
    lines = [line.strip() for line in str(origin).splitlines() if line.strip()]
    text = " ".join(lines)[:300] if lines else type(origin).__name__
    if url is not None and url.password:
        text = text.replace(str(url.password), "***")
    return redacted(text)


def database(url: URL) -> RDBStorage:
    """Optuna's storage in a PostgreSQL database; the connections are made here, and closed."""
    engine = sqlalchemy.create_engine(url, connect_args=CONNECTION, pool_size=2)
    given = {"pool": engine.pool, "hide_parameters": True}
    try:
        try:
            return RDBStorage(DIALECT, engine_kwargs=given)
        except (IntegrityError, ProgrammingError):
            time.sleep(0.5)  # another driver makes the tables at this moment, or it fails again
            return RDBStorage(DIALECT, engine_kwargs=given)
    except BaseException:
        engine.dispose()
        raise


def journal(directory: Path) -> BaseStorage:
    """The embedded storage of an experiment, opened by its one driver.

    A copy that cannot be read (a disk was full, a machine lost its power) is put aside and made
    anew from the ledger. For a lock that a killed driver left, Optuna would wait half a minute.
    """
    path = directory / STUDY_FILE
    path.with_name(f"{STUDY_FILE}.lock").unlink(missing_ok=True)
    path.touch()
    cut_torn_line(path)
    try:
        for line in path.read_bytes().splitlines():  # Optuna forgives the last one, then breaks off
            json.loads(line)
        return JournalStorage(JournalFileBackend(str(path)))
    except (AssertionError, KeyError, TypeError, ValueError):
        path.replace(path.with_name(f"{STUDY_FILE}.damaged"))
        return JournalStorage(JournalFileBackend(str(path)))
