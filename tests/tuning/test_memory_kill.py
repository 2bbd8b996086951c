"""Ray's memory monitor at work: it fails a trial, not the search."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tuning.tune_process import Tune
from tuning.ledger import read_events, read_trials

pytestmark = [pytest.mark.ray, pytest.mark.cluster, pytest.mark.timeout(280)]


@pytest.fixture
def tune(tmp_path: Path) -> Iterator[Tune]:
    found = Tune(tmp_path)
    yield found
    found.kill()


def test_a_node_without_memory_fails_trials_and_the_search_ends_by_itself(tune: Tune) -> None:
    """Stock Tune ends with "RuntimeError: Caught unexpected exception" at the first kill."""
    full = {"RAY_memory_usage_threshold": "0.001", "RAY_memory_monitor_refresh_ms": "250"}
    words = ("--space", str(tune.folder / "rates.yaml"), "--set", "budget.trials=1")
    tune.start(*words, **full)
    assert tune.finish() == 1, tune.log.read_text()[-2000:]
    (trial,) = read_trials(tune.directory())
    assert trial.state == "failed"
    assert trial.reason == (
        "out of main memory on its node: Ray ended its process (started 3 times)"
    )
    kinds = [line["kind"] for line in read_events(tune.directory()) if "kind" in line]
    assert kinds == ["memory", "memory", "memory"]
