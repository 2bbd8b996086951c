"""Fixtures of the drills, and the line that each of them leaves."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ray._private.ray_constants import RAY_WORKER_NICENESS

from tests.drills.nodes import Nodes
from tests.drills.search import ROOT, Search, space_of

LOST = "lost"
#: Ray's own 15 would have the trials wait for whatever else runs on the machine.
os.environ[RAY_WORKER_NICENESS] = "0"


@pytest.fixture
def lost(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """``lost("3 epochs; back after 7.1 s")``: what a drill measured, for the end of the report."""

    def note(text: str) -> None:
        request.node.user_properties.append((LOST, text))

    return note


@pytest.fixture
def search(tmp_path: Path) -> Iterator[Callable[..., Search]]:
    """``search(rates, address=None, **sections)``: see :func:`tests.drills.search.space_of`."""
    made: list[Search] = []

    def make(rates: Any, address: str | None = None, **sections: Any) -> Search:
        found = Search(tmp_path / f"s{len(made)}", space_of(rates, **sections), address)
        made.append(found)
        return found

    yield make
    for each in made:
        each.kill()


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """A head and two workers for the drills of a module; one that was killed is replaced."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(ROOT)  # the workers of all nodes inherit it
    found = Nodes()
    try:
        found.start_head()
        for _ in range(2):
            found.add_worker()
        yield found
    finally:
        found.stop()
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """One line a drill: what was lost, and how long it took."""
    found = [
        (report.nodeid.rpartition("::")[2], text, report.duration)
        for report in terminalreporter.getreports("passed")
        if report.when == "call"
        for name, text in report.user_properties
        if name == LOST
    ]
    if found:
        terminalreporter.section("what was lost")
        for name, text, seconds in found:
            terminalreporter.write_line(f"{name}: {text} ({seconds:.0f} s)")
