"""The experiment written by hand, as the tests of its page want it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.tuning.served import Made, served
from tuning.ledger.driver_lock import driving


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Made]]:
    """``make(attack="")``: the experiment, without a driver."""
    with contextlib.ExitStack() as stack:
        yield lambda attack="": stack.enter_context(served(tmp_path, attack))


@pytest.fixture
def experiment(make: Callable[..., Made]) -> Iterator[Made]:
    """A search that is under way: this process is its driver."""
    directory, ledger = make()
    with driving(directory):
        yield directory, ledger
