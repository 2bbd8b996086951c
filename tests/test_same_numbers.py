"""The benchmark that compares whole trainings with two settings of `precision`."""

from __future__ import annotations

from argparse import Namespace

import pytest

from benchmarks.same_numbers import REFERENCE, compare, config, end_of


def test_a_run_takes_the_settings_and_nothing_else() -> None:
    options = Namespace(batch=2, steps=8)
    reference = config(options, 3, REFERENCE)
    fast = config(options, 3, ["precision.preset=auto"])
    assert (reference.precision.preset, fast.precision.preset) == ("reference", "auto")
    assert reference.data.crops_per_epoch == 4
    assert (reference.seed, reference.data) == (3, fast.data)


def test_both_end_alike_after_a_few_steps() -> None:
    options = Namespace(batch=1, steps=4)
    ends = [
        end_of(config(options, 0, [settings, "data.val=null", "data.holdout=1"]))
        for settings in (*REFERENCE, "precision.preset=auto")
    ]
    assert ends[1]["val_rd_cost"] == pytest.approx(ends[0]["val_rd_cost"], rel=1e-3)


def test_what_changes_on_a_seed_stands_beside_what_seeds_differ_by() -> None:
    found = compare([1.0, 1.2, 1.4], [1.01, 1.19, 1.4])
    assert found == {"differences": [0.01, -0.01, 0.0], "largest": 0.01, "sd_of_seeds": 0.2}
