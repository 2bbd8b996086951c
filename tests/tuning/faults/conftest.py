"""Searches whose trials break, without Ray."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tuning.faults.broken_trials import Play, Staging
from tuning.faults import recovery as module


@pytest.fixture
def staging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Staging]:
    monkeypatch.setattr(module, "node_of", lambda actor: None)
    found = Staging(tmp_path)
    yield found
    found.ledger.close()


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Play]:
    monkeypatch.setattr(module, "node_of", lambda actor: None)
    found = Play(tmp_path)
    yield found
    found.ledger.close()


@pytest.fixture
def quarter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Play]:
    """Four trials share a GPU."""
    monkeypatch.setattr(module, "node_of", lambda actor: None)
    found = Play(tmp_path, resources={"gpu": 0.25, "cpu": 1})
    yield found
    found.ledger.close()
