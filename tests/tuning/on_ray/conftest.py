"""Searches whose trials break, without Ray."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from tests.tuning.on_ray.broken_trials import Play, Staging
from tuning.on_ray import private_api

Played = TypeVar("Played", bound=Play)


def closed(play: Played) -> Iterator[Played]:
    """A play whose ledger is closed after the test."""
    yield play
    play.ledger.close()


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray, which is not there, is not asked on which node an actor runs."""
    monkeypatch.setattr(private_api, "node_of_actor", lambda actor: None)


@pytest.fixture
def staging(tmp_path: Path, nowhere: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Staging]:
    for name, value in private_api.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    session = "ray.train._internal.storage.StorageContext._get_session_path"
    monkeypatch.setattr(session, lambda self: str(tmp_path / "session"))
    yield from closed(Staging(tmp_path))


@pytest.fixture
def play(tmp_path: Path, nowhere: None) -> Iterator[Play]:
    yield from closed(Play(tmp_path))


@pytest.fixture
def quarter(tmp_path: Path, nowhere: None) -> Iterator[Play]:
    """Four trials share a GPU."""
    yield from closed(Play(tmp_path, resources={"gpu": 0.25, "cpu": 1}))
