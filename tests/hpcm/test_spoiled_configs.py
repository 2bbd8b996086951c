"""Spoiled run configs are read or refused in our words (benchmarks/fuzz_yaml.py)."""

from __future__ import annotations

import pytest

from benchmarks.fuzz_yaml import fuzz, read_run, runs
from benchmarks.yaml_mutations import MUTATIONS


@pytest.mark.parametrize("count", [75, pytest.param(2_000, marks=pytest.mark.slow)])
def test_spoiled_run_configs(count: int) -> None:
    outcome = fuzz(runs(), read_run, count, seed=1)
    assert (outcome.crashes, outcome.bad_messages) == ([], [])
    assert outcome.read.total() + outcome.refused.total() == count
    assert outcome.refused.keys() == {mutation.__name__ for mutation in MUTATIONS}
