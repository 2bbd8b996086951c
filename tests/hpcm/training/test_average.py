"""`ema.decay`: the average is what it says, is scored beside the weights and changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.kernels import WaitCounter
from hpcm import ConfigError, TrainConfig, train
from hpcm.evaluation.images import Validator
from hpcm.training.average import WeightAverage, move
from hpcm.training.run import Run
from hpcm.training.state import restore
from hpcm.training.step import Stepper
from tests.hpcm.training.test_loop import Alternating
from tests.hpcm.training.test_resume import assert_resume_is_exact, config, toy


def test_the_first_steps_are_averaged_evenly_then_exponentially() -> None:
    """Against sums written out: decay 0.75 averages evenly over four steps."""
    torch.manual_seed(0)
    model = nn.Linear(3, 2, dtype=torch.float64)
    average = WeightAverage(model, 0.75)
    history = []
    for _ in range(7):
        with torch.no_grad():
            model.weight += torch.randn(2, 3, dtype=torch.float64)
        history.append(model.weight.detach().clone())
        average.update()
        mean = torch.stack(history[:4]).mean(0)
        for late in history[4:]:
            mean = 0.75 * mean + 0.25 * late
        with average.in_place():
            torch.testing.assert_close(model.weight.detach(), mean, rtol=1e-14, atol=1e-14)
        assert torch.equal(model.weight, history[-1])


def test_a_share_that_only_the_device_knows_moves_the_average_as_far() -> None:
    torch.manual_seed(0)
    weights, means = ([torch.randn(3, 2), torch.randn(4)] for _ in range(2))
    expected = [mean + 0.3 * (weight - mean) for mean, weight in zip(means, weights, strict=True)]
    with WaitCounter() as waits:
        move(means, weights, torch.tensor(0.3, dtype=torch.float64))
    torch.testing.assert_close(means, expected)
    assert waits.total == 0


def test_the_own_weights_are_back_also_after_an_error() -> None:
    model = nn.Linear(2, 2)
    average = WeightAverage(model, 0.9)
    before = model.weight.detach().clone()
    average.update()
    with torch.no_grad():
        model.weight += 1
    inside = []

    def break_off() -> None:
        with average.in_place():
            inside.append(model.weight.detach().clone())
            raise KeyError

    pytest.raises(KeyError, break_off)
    assert torch.equal(inside[0], before)
    assert torch.equal(model.weight, before + 1)


def test_training_and_its_scores_are_the_same_with_it(image_folder: str) -> None:
    plain, averaged = toy(), toy()
    without = [r.metrics for r in train(config(image_folder), model=plain, device="cpu")]
    cfg = config(image_folder, ema={"decay": 0.9})
    with_it = [r.metrics for r in train(cfg, model=averaged, device="cpu")]
    for one, other in zip(without, with_it, strict=True):
        added = other.keys() - one.keys()
        assert added == {name.replace("val_", "val_ema_") for name in one if "val_" in name}
        assert all(one[k] == other[k] for k in one if k != "train/seconds")
    for name, value in plain.state_dict().items():
        assert torch.equal(value, averaged.state_dict()[name]), name


def test_the_score_is_that_of_the_average_in_the_checkpoint(
    image_folder: str, tmp_path: Path
) -> None:
    cfg = config(image_folder, ema={"decay": 0.9}, optimizer={"lr": 1e-2})
    *_, report = train(cfg, model=toy(), device="cpu")
    report.save(tmp_path)
    run = Run.build(cfg, toy(), "cpu")
    restore(run, tmp_path)
    assert run.average is not None
    assert run.average.steps == run.step == 8
    validator = Validator(cfg.data.val, cfg.loss, run.model.stride)
    assert validator(run.model)["val_rd_cost"] == report.metrics["val_rd_cost"]
    with run.average.in_place():
        assert validator(run.model)["val_rd_cost"] == report.metrics["val_ema_rd_cost"]
    assert report.metrics["val_ema_rd_cost"] != report.metrics["val_rd_cost"]


@pytest.mark.parametrize("optimizer", ["adam", "soap"])
def test_it_resumes_exactly(optimizer: str, image_folder: str, tmp_path: Path) -> None:
    cfg = config(image_folder, ema={"decay": 0.7}, optimizer={"name": optimizer})
    reports = assert_resume_is_exact(cfg, tmp_path)
    assert all("val_ema_rd_cost" in report for report in reports)


def test_it_is_scored_where_validation_is_due(image_folder: str) -> None:
    cfg = config(image_folder, ema={"decay": 0.9}, validate_every=3)
    reports = [r.metrics for r in train(cfg, model=toy(), device="cpu")]
    assert ["val_ema_rd_cost" in report for report in reports] == [False, False, True, True]


def test_skipped_steps_have_no_part_in_it(image_folder: str) -> None:
    cfg = config(image_folder, ema={"decay": 0.9})
    run = Run.build(cfg, Alternating(), "cpu")
    run.apply_config()
    run.model.train()
    stepper = Stepper(run)
    for _ in range(4):
        stepper.step(torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)), t=0.0)
    assert run.step == 4
    assert run.average is not None
    assert run.average.steps == 2


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.5])
def test_a_decay_that_averages_nothing_is_refused(decay: float) -> None:
    with pytest.raises(ConfigError, match=r"test: ema: .*must be above 0 and below 1"):
        TrainConfig.from_plain({"ema": {"decay": decay}}, "test")


def test_it_is_refused_beside_schedule_free_adam() -> None:
    plain = {"ema": {"decay": 0.9}, "optimizer": {"name": "schedule_free_adam"}}
    with pytest.raises(ConfigError, match="schedule_free_adam averages its weights already"):
        TrainConfig.from_plain(plain, "test")


def test_a_resume_with_another_decay_is_refused(image_folder: str, tmp_path: Path) -> None:
    next(iter(train(config(image_folder), model=toy(), device="cpu"))).save(tmp_path)
    with pytest.raises(ConfigError, match=r"ema.decay: None, now 0.9"):
        train(config(image_folder, ema={"decay": 0.9}), model=toy(), resume=tmp_path)


def test_digests_from_before_the_field_stay() -> None:
    assert TrainConfig().digest == "42c1de338e9f"
    assert TrainConfig.from_plain({"ema": {"decay": 0.9}}, "test").digest != TrainConfig().digest
