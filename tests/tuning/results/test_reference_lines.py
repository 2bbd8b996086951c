"""What is told of the reference runs: which there are, and why there is no curve."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.tuning.simulation.test_delta_rate import OneCurve, space_of
from tuning.results.outcome import ExperimentResult
from tuning.results.reference_lines import reference_lines
from tuning.simulation.simulate import simulate
from tuning.spaces.sections import Objective
from tuning.watching.summary import summary_lines


class OddCurve(OneCurve):
    """Its rates do not rise with lmbda at the first epoch, and one trial is far beyond."""

    def report(self, params: Any, seed: int, epoch: int) -> dict[str, float]:
        found = super().report(params, seed, epoch)
        if epoch == 1 and "loss.lmbda" in params:
            return found | {"val_bpp": 0.5}
        if "loss.lmbda" not in params and params["optimizer.lr"] == 2e-4:
            return found | {"val_psnr": 60.0}
        return found


@pytest.fixture
def odd(tmp_path: Path) -> ExperimentResult:
    """A search on such a source."""
    return simulate(space_of(tmp_path), OddCurve(), slots=3, seed=1, trials=4)


def lines_of(result: ExperimentResult) -> list[str]:
    return reference_lines(result.references, result.trials, result.info.space)


def test_runs_reasons_range_and_who_is_beyond(odd: ExperimentResult) -> None:
    runs, no_curve, curve, beyond = lines_of(odd)
    assert runs == (
        "reference runs: lmbda 0.0065 (trial 1) finished; lmbda 0.013 (trial 2) finished;"
        " lmbda 0.026 (trial 3) finished"
    )
    assert no_curve == (
        "no reference curve at epoch 1: the rate does not rise from lmbda 0.0065 (0.5 bpp) to"
        " 0.013 (0.5 bpp)"
    )
    assert curve.startswith("reference curve at epoch 9: 0.2778 to 1.1111 bpp, 26.78 to 32.78 dB")
    assert beyond == "1 trial beyond that has no score at epoch 9: trial 0 (60.00 dB)"
    assert no_curve in summary_lines(odd, None)


def test_a_run_that_failed_and_one_that_trains(tmp_path: Path) -> None:
    result = simulate(space_of(tmp_path), OneCurve(broken=0.026), slots=3, seed=1, trials=4)
    lines = lines_of(result)
    assert "lmbda 0.026 (trial 3) failed: " in lines[0]
    assert lines[1].startswith(
        "no reference curve at epochs 3, 9: the reference run at lmbda 0.026"
    )
    first = replace(result.references[0], state="running", reports=result.references[0].reports[:2])
    lines = lines_of(replace(result, references=(first, *result.references[1:])))
    assert lines[0].startswith("reference runs: lmbda 0.0065 (trial 1) running, epoch 2/9;")


def test_nothing_is_told_where_there_is_nothing(odd: ExperimentResult) -> None:
    assert lines_of(replace(odd, references=())) == ["reference runs: none has begun"]
    plain = replace(odd.info.space, objective=Objective())
    assert reference_lines(odd.references, odd.trials, plain) == []
