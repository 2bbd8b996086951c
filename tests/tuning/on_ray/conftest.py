"""Searches whose trials break, without Ray."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from tests.tuning.on_ray.broken_trials import Play, Staging
from tuning.faults import recovery as module

Played = TypeVar("Played", bound=Play)


def closed(play: Played) -> Iterator[Played]:
    """A play whose ledger is closed after the test."""
    yield play
    play.ledger.close()


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray, which is not there, is not asked on which node an actor runs."""
    monkeypatch.setattr(module, "node_of", lambda actor: None)


@pytest.fixture
def staging(tmp_path: Path, nowhere: None) -> Iterator[Staging]:
    yield from closed(Staging(tmp_path))


@pytest.fixture
def play(tmp_path: Path, nowhere: None) -> Iterator[Play]:
    yield from closed(Play(tmp_path))


@pytest.fixture
def quarter(tmp_path: Path, nowhere: None) -> Iterator[Play]:
    """Four trials share a GPU."""
    yield from closed(Play(tmp_path, resources={"gpu": 0.25, "cpu": 1}))
