"""The measurements run; what they measure is not asserted."""

from __future__ import annotations

import pytest
import torch

from benchmarks.__main__ import main
from benchmarks.optimizer_step import OPTIMIZERS, measure


def test_optimizer_step_measures_every_optimizer() -> None:
    seconds = measure([torch.Size((3, 4)), torch.Size((5,))], rounds=2, device="cpu")
    assert list(seconds) == list(OPTIMIZERS)
    assert all(0 < value < float("inf") for value in seconds.values())


@pytest.mark.parametrize("arguments", [[], ["record"], ["nothing"]])
def test_an_unknown_measurement_lists_the_known(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert "optimizer_step,train_step" in capsys.readouterr().err


def test_arguments_reach_the_measurement(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["optimizer_step", "--help"])
    assert "--rounds" in capsys.readouterr().out
