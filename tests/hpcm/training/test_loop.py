"""The loop: what it reports, that it learns, and how it ends when the numbers break."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from hpcm import ConfigError, Diverged, TrainConfig, train
from hpcm.evaluation.images import Validator
from hpcm.optimizers.early_stopping import ScaleStopper
from hpcm.optimizers.famo_per_scale import FamoPerScaleBalancer
from hpcm.training.run import Run
from hpcm.training.state import MODEL_FILE, TRAINING_FILE
from hpcm.training.step import Stepper
from tests.hpcm.training.test_resume import config, toy
from tests.toy_codec import ToyCodec


def last_report(cfg: TrainConfig, model: ToyCodec) -> dict[str, float]:
    *_, report = train(cfg, model=model, device="cpu")
    return report.metrics


def test_training_lowers_the_objective(image_folder: str) -> None:
    cfg = config(image_folder, optimizer={"lr": 3e-3}, lr_schedule={"name": "constant"})
    first, *_, last = [r.metrics["val_rd_cost"] for r in train(cfg, model=toy(), device="cpu")]
    assert last < 0.9 * first


def test_reported_groups(image_folder: str) -> None:
    metrics = last_report(config(image_folder, balancer={"name": "famo_per_scale"}), toy())
    expected = """epoch val_rd_cost val_bpp val_psnr train/loss train/distortion train/bpp_loss
        train/psnr train/task_weight_distortion train/task_weight_bpp train/lr train/skipped_steps
        train/seconds scale_contrib/s1 scale_contrib/s2 scale_contrib/s3 gamma/s1 gamma/s2 gamma/s3
        test/loss test/distortion test/bpp_loss test/psnr"""
    assert set(expected.split()) <= metrics.keys()
    assert all(isinstance(value, float) for value in metrics.values())
    assert metrics["train/task_weight_distortion"] + metrics["train/task_weight_bpp"] == (
        pytest.approx(1.0, abs=1e-6)
    )


@pytest.mark.parametrize("balancer", [{"name": "sum"}, {"name": "famo", "tasks": "published5"}])
def test_rd_cost_is_made_of_distortion_and_rate(balancer: dict, image_folder: str) -> None:
    """Whatever the tasks are that are trained."""
    cfg = config(image_folder, balancer=balancer)
    metrics = last_report(cfg, toy())
    rd_cost = cfg.loss.lmbda * metrics["train/distortion"] + metrics["train/bpp_loss"]
    assert metrics["train/loss"] == pytest.approx(rd_cost, rel=1e-5)


def test_epochs_truncate_and_never_bend_a_schedule(image_folder: str) -> None:
    schedule = {"name": "cosine"}
    long = config(image_folder, lr_schedule=schedule)
    rates = [r.metrics["train/lr"] for r in train(long, model=toy(), device="cpu")]
    short = [r.metrics["train/lr"] for r in train(long.with_epochs(2), model=toy(), device="cpu")]
    assert short == rates[:2]
    assert rates[0] > rates[-1]


class Broken(ToyCodec):
    """Gives a loss, or a gradient, that is not finite."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what

    def forward(self, x: torch.Tensor, noise: dict[str, torch.Tensor] | None = None) -> dict:
        out = super().forward(x, noise)
        if self.what == "loss":
            out["x_hat"] = out["x_hat"] * math.nan
        else:
            out["x_hat"] = out["x_hat"] + (self.scales_hyper_z * 0).sqrt()
        return out


def test_a_loss_that_is_not_finite_ends_the_run_and_is_named(image_folder: str) -> None:
    with pytest.raises(Diverged, match=r"step 0: the loss is not finite: distortion nan"):
        last_report(config(image_folder), Broken("loss"))


def test_gradients_that_stay_non_finite_end_the_run(image_folder: str) -> None:
    cfg = config(image_folder, epochs=9)
    with pytest.raises(Diverged, match="10 steps in a row"):
        last_report(cfg, Broken("gradient"))


def test_steps_with_a_non_finite_gradient_are_skipped_and_counted(image_folder: str) -> None:
    model = Broken("gradient")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    report = next(iter(train(config(image_folder), model=model, device="cpu")))
    assert report.metrics["train/skipped_steps"] == 2
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_an_epoch_without_a_step_is_no_progress_of_a_scale(image_folder: str) -> None:
    """Nor does it break what looks at the epoch's mean loss, which there is not."""
    cfg = config(
        image_folder,
        early_stopping={"patience": 2},
        balancer={"name": "famo_per_scale", "gamma_schedule": {"name": "adaptive"}},
        regularizers={"inter_scale": {"delta": 0.01, "start": 0.0, "mode": "repo"}},
    )
    reports = list(train(cfg, model=Broken("gradient"), device="cpu"))
    assert [report.metrics["early_stopping/counter_s1"] for report in reports] == [1, 2]
    assert all("train/loss" not in report.metrics for report in reports)


def test_the_average_of_schedule_free_is_validated_and_saved(
    image_folder: str, tmp_path: Path
) -> None:
    cfg = config(image_folder, optimizer={"name": "schedule_free_adam", "lr": 1e-2}, epochs=1)
    model = toy()
    (report,) = train(cfg, model=model, device="cpu")
    report.save(tmp_path)
    saved = torch.load(tmp_path / MODEL_FILE, weights_only=True)
    optimizer = torch.load(tmp_path / TRAINING_FILE, weights_only=True)["optimizer"]
    assert not any(group["train_mode"] for group in optimizer["param_groups"])
    validated = toy()
    validated.load_state_dict(saved)
    again = Validator(cfg.data.val, cfg.loss, model.stride)(validated)
    assert report.metrics["val_rd_cost"] == again["val_rd_cost"]


def test_each_scale_is_told_its_own_loss(
    image_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the toy's symbols s1, s2 and s3 have 2, 3 and 6 of 11, and so of the rate."""
    seen: list[list[float]] = []
    monkeypatch.setattr(ScaleStopper, "observe", lambda _, by: seen.append([*by.values()]))
    monkeypatch.setattr(
        FamoPerScaleBalancer, "observe", lambda _, losses: seen.append(losses.tolist())
    )
    balancer = {"name": "famo_per_scale", "tasks": "rate4"}
    metrics = last_report(config(image_folder, epochs=1, balancer=balancer), toy())
    of_balancer, of_stopper = seen
    assert of_balancer == of_stopper == sorted(of_stopper)
    assert of_stopper[2] > 1.5 * of_stopper[1] > 0
    assert sum(of_stopper) == pytest.approx(metrics["train/bpp_loss"], rel=1e-5)


class Alternating(ToyCodec):
    """Gives a gradient that is not finite in every second step."""

    steps = 0

    def forward(self, x: torch.Tensor, noise: dict[str, torch.Tensor] | None = None) -> dict:
        out = super().forward(x, noise)
        self.steps += self.training
        if self.training and self.steps % 2:
            out["x_hat"] = out["x_hat"] + (self.scales_hyper_z * 0).sqrt()
        return out


def test_skipped_steps_that_are_not_in_a_row_do_not_end_the_run(image_folder: str) -> None:
    cfg = config(image_folder, epochs=12, validate_every=100)
    reports = list(train(cfg, model=Alternating(), device="cpu"))
    assert len(reports) == 12
    assert [report.metrics["train/skipped_steps"] for report in reports] == [1] * 12


@pytest.mark.parametrize(
    ("balancer", "looks"),
    [
        ({"name": "sum"}, [True] * 5),
        ({"name": "uncertainty"}, [True] * 5),
        ({"name": "famo"}, [True, False] * 5),
        (
            {"name": "famo", "weight_update_every": 4},
            [True, False, True, True, True, True, False],
        ),
        ({"name": "famo_per_scale"}, [True, False] * 5),
        ({"name": "famo_per_scale", "tasks": "published5", "published": True}, [True]),
    ],
    ids=str,
)
def test_a_second_look_is_one_forward_without_gradient(
    balancer: dict, looks: list[bool], image_folder: str
) -> None:
    """Whether gradients are on in each forward pass of five steps."""
    seen: list[bool] = []
    model = toy()
    model.register_forward_pre_hook(lambda *_: seen.append(torch.is_grad_enabled()))
    run = Run.build(config(image_folder, balancer=balancer), model, "cpu")
    run.apply_config()
    stepper = Stepper(run)
    for _ in range(1 if balancer.get("published") else 5):
        stepper.step(torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)), t=0.0)
    assert seen == looks


@pytest.mark.parametrize(("published", "still"), [(False, True), (True, False)])
def test_common_random_numbers_see_no_change_when_no_step_is_taken(
    image_folder: str, published: bool, still: bool
) -> None:
    """Without a change of the weights, only fresh noise moves FAMO's logits."""
    balancer = {"name": "famo", "published": published}
    cfg = config(image_folder, optimizer={"lr": 1e-30}, balancer=balancer)
    run = Run.build(cfg, toy(), "cpu")
    run.apply_config()
    Stepper(run).step(torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)), t=0.0)
    shares = run.balancer.contributions().tolist()
    assert (shares == [0.5, 0.5]) is still


def changed(before: dict[str, torch.Tensor], model: ToyCodec) -> set[str]:
    return {k.split(".")[0] for k, v in model.state_dict().items() if not torch.equal(v, before[k])}


def test_a_frozen_part_does_not_move_and_an_unfrozen_one_does(image_folder: str) -> None:
    parts = {"freeze": "progressive", "unfreeze_hyper": 0.4, "unfreeze_context": 0.4}
    model = toy()
    start = {name: value.clone() for name, value in model.state_dict().items()}
    moved = [
        changed(start, model)
        for _ in train(config(image_folder, parts=parts), model=model, device="cpu")
    ]
    assert moved[1] == {"g_a", "g_s"}
    assert moved[2] == {"g_a", "g_s", "scales_hyper_y", "scales_hyper_z"}


def test_a_part_has_its_own_learning_rate(image_folder: str) -> None:
    parts = {"g_a": {"mult": 1e-12}}
    slow, plain = toy(), toy()
    start = plain.state_dict()["g_a.weight"].clone()
    next(iter(train(config(image_folder, parts=parts), model=slow, device="cpu")))
    next(iter(train(config(image_folder), model=plain, device="cpu")))
    far = (plain.state_dict()["g_a.weight"] - start).abs().max()
    assert (slow.state_dict()["g_a.weight"] - start).abs().max() < 1e-6 * far


def test_training_ends_when_every_scale_has_stopped(image_folder: str) -> None:
    stopping = {"patience": 1, "min_delta": 1e6}
    sections = {"early_stopping": stopping, "balancer": {"name": "famo_per_scale"}}
    reports = list(train(config(image_folder, **sections), model=toy(), device="cpu"))
    assert [(report.epoch, report.last) for report in reports] == [(1, False), (2, True)]
    with pytest.raises(ConfigError, match="no scales to stop"):
        config(image_folder, early_stopping=stopping)


def test_the_last_epoch_is_validated_wherever_it_is(image_folder: str) -> None:
    sections = {"balancer": {"name": "famo_per_scale"}, "validate_every": 100}
    whole = [*train(config(image_folder, **sections), model=toy(), device="cpu")]
    assert [r.epoch for r in whole if "val_rd_cost" in r.metrics] == [len(whole)]
    assert [r.epoch for r in whole if r.last] == [len(whole)]
    early = config(image_folder, **sections, early_stopping={"patience": 1, "min_delta": 1e6})
    reports = [*train(early, model=toy(), device="cpu")]
    assert ["val_rd_cost" in report.metrics for report in reports] == [False, True]


def test_progress_goes_on_within_an_epoch(
    image_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step has its own t: two steps of an epoch, at a horizon of five epochs."""
    seen: list[float] = []
    step = Stepper.step

    def note(self: Stepper, x: torch.Tensor, t: float) -> None:
        seen.append(t)
        step(self, x, t)

    monkeypatch.setattr(Stepper, "step", note)
    list(train(config(image_folder, epochs=2), model=toy(), device="cpu"))
    assert seen == pytest.approx([0.0, 0.1, 0.2, 0.3])
