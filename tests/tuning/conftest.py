"""Fixtures of the tests of search spaces."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tuning.spaces import Change, write
from tuning import load_space
from tuning.space import SearchSpace


@pytest.fixture
def space_file(tmp_path: Path) -> Callable[..., Path]:
    """``space_file(change, name="mine", comment="")``: the file of `spaces.SPACE`, changed."""

    def make(change: Change = lambda data: None, name: str = "mine", comment: str = "") -> Path:
        return write(tmp_path, change, name, comment)

    return make


@pytest.fixture
def space(space_file: Callable[..., Path]) -> SearchSpace:
    """`spaces.SPACE` as written."""
    return load_space(space_file())
