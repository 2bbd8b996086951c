"""What must hold of balancing and regularisation in whole trainings, not in their parts alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hpcm import Diverged, TrainConfig, train
from hpcm.losses import TASK_SETS, LossConfig
from hpcm.optimizers import BALANCERS, Famo
from hpcm.training import step
from hpcm.training.run import Run
from hpcm.training.step import Stepper
from tests.noise import seeded_noise
from tests.toy_codec import ToyCodec

pytestmark = pytest.mark.filterwarnings("ignore:balancer learned_shares degenerates")


@pytest.fixture(autouse=True)
def _images(image_folder: Callable[..., Path]) -> None:
    image_folder("few", count=2, height=128, width=128)


def config(**sections: Any) -> TrainConfig:
    data = {"train": "few", "val": "few", "patch": 64, "batch_size": 2, "workers": 0}
    plain = {"data": data, "epochs": 2, "schedule_horizon": 2, **sections}
    return TrainConfig.from_plain(plain, "test")


def toy() -> ToyCodec:
    torch.manual_seed(3)
    return ToyCodec()


def reports(cfg: TrainConfig) -> list[dict[str, float]]:
    return [report.metrics for report in train(cfg, model=toy(), device="cpu")]


def batches(count: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(0)
    for _ in range(count):
        yield torch.rand(2, 3, 64, 64, generator=generator)


# The objective


@pytest.mark.parametrize("name", BALANCERS)
def test_no_balancers_weight_is_in_the_objective(name: str) -> None:
    """With next to no learning rate the model stays as it is, and so does its score."""
    still = {"lr": 1e-30}
    *_, plain = reports(config(optimizer=still))
    *_, weighed = reports(config(optimizer=still, balancer={"name": name}))
    scores = [key for key in plain if key.startswith(("val_", "test/"))]
    assert {"val_rd_cost", "test/loss"} <= set(scores)
    assert {key: weighed[key] for key in scores} == {key: plain[key] for key in scores}


def test_the_objective_is_lambda_d_plus_r() -> None:
    """Of the mean squared error and the bits alone, whatever the tasks are."""
    cfg = config(balancer={"name": "famo_per_scale", "tasks": "published5"})
    *_, last = reports(cfg)
    rd_cost = cfg.loss.lmbda * 255**2 * last["val_mse"] + last["val_bpp"]
    assert last["val_rd_cost"] == pytest.approx(rd_cost, rel=1e-6)


def test_lambda_eff_is_a_ratio_to_the_lambda_of_the_objective() -> None:
    """The published tasks have no 255^2: what they train for is next to no distortion at all."""
    for tasks, most in (("exact5", 1.0), ("published5", 1e-4)):
        *_, last = reports(config(balancer={"name": "famo", "tasks": tasks}))
        assert 0 < last["balance/lambda_eff_ratio"] < most


# The second look


@pytest.mark.parametrize("tasks", [n for n, t in TASK_SETS.items() if not t.needs_shares])
def test_a_second_look_without_a_step_sees_no_improvement_on_hpcm(
    tasks: str, tiny_model: Callable[..., torch.nn.Module], image_batch: Callable[..., Tensor]
) -> None:
    """Exactly none with the same noise; with fresh noise the rate seems to have changed."""
    run = Run.build(config(balancer={"name": "famo", "tasks": tasks}), tiny_model(), "cpu")
    run.model.train()
    stepper, x = Stepper(run), image_batch(1)
    shapes = run.model.noise_shapes(*x.shape[2:])
    noises = [stepper._noise.draw(0, shapes, range(1), look) for look in (0, 0, 1)]
    with torch.no_grad():
        first, again, fresh = (stepper._look(x, noise)[2] for noise in noises)
    assert torch.equal(first, again)
    rate = torch.tensor([kind == "R" for kind in TASK_SETS[tasks].kinds])
    assert (first != fresh)[rate].all()
    balancer = run.balancer
    balancer.update(first, again)
    assert torch.equal(balancer.logits.w, torch.zeros_like(balancer.logits.w))


def test_one_gamma_adapts_to_the_loss_of_tasks_without_a_scale() -> None:
    """A loss that is flat from epoch to epoch lowers gamma, one that is not raises it."""
    schedule = {"name": "adaptive", "down": 0.5, "up": 1.4, "warmup": 0.0}
    famo = TrainConfig.from_plain(
        {"balancer": {"name": "famo", "gamma_schedule": schedule}}, "test"
    ).balancer
    assert isinstance(famo, Famo)
    ratios = []
    for swing in (0.0, 1.0):
        balancer = famo.build(TASK_SETS["two_task"], "cpu")
        for epoch in range(5):
            balancer.apply(famo, epoch / 100, epoch)
            losses = torch.tensor([0.5, 2.0 + swing * (-1) ** epoch]).requires_grad_()
            balancer.backward(losses, [losses])
            balancer.observe(torch.zeros(3))  # what tasks without a scale give
        ratios.append(balancer.log()["gamma/gamma"] / famo.gamma)
    assert ratios == pytest.approx([0.5, 1.4], rel=0.01)


# The published forms, in a training


def test_published_first_batch_floors_end_the_run_and_are_named() -> None:
    balancer = {"name": "famo_per_scale", "tasks": "published5", "published": True}
    cfg = config(balancer=balancer, optimizer={"lr": 1e-4}, epochs=20)
    message = r"step \d+: the task weights are not finite: .*is at or below its floor"
    with pytest.raises(Diverged, match=message) as error:
        reports(cfg)
    names = TASK_SETS["published5"].names
    assert any(f"{name}: loss" in error.value.reason for name in names)


def test_published_phase_3_keeps_its_logits_at_zero_whatever_gamma_is() -> None:
    """In the training itself: the second look is the first, so nothing ever improves."""
    weights = []
    for factor in (1, 100):
        gammas = {f"gamma_s{scale}": 0.005 * factor for scale in (1, 2, 3)}
        balancer = {"name": "famo_per_scale", "tasks": "published5", "published": True, **gammas}
        run = Run.build(config(balancer={**balancer, "w_lr": 0.025 * factor}), toy(), "cpu")
        run.apply_config()
        run.balancer.floor = -torch.ones(5, dtype=torch.float64)  # else it ends as above
        stepper = Stepper(run)
        for x in batches(5):
            stepper.step(x, 0.0)
        assert torch.equal(run.balancer.logits.w, torch.zeros(5, dtype=torch.float64))
        weights.append(run.model.state_dict())
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_the_sound_form_moves_its_logits() -> None:
    run = Run.build(config(balancer={"name": "famo_per_scale"}), toy(), "cpu")
    run.apply_config()
    stepper = Stepper(run)
    for x in batches(2):
        stepper.step(x, 0.0)
    assert (run.balancer.logits.w != 0).all()


def test_a_regularizer_that_outgrows_the_cost_ends_the_run_and_is_named() -> None:
    term = {"delta": 1e6, "start": 0.0, "mode": "paper"}
    with pytest.raises(Diverged, match=r"regularizers\.inter_scale: the term is -"):
        reports(config(regularizers={"inter_scale": term}))


def test_the_guard_of_the_term_looks_during_an_epoch_and_at_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    term = {"delta": 1e6, "start": 0.5, "mode": "paper"}
    cfg = config(regularizers={"inter_scale": term})
    run = Run.build(cfg, toy(), "cpu")
    run.apply_config()
    with pytest.raises(Diverged, match="the term is -"):
        Stepper(run).step(next(batches(1)), 0.5)
    monkeypatch.setattr(step, "GUARD_EVERY", 10**9)
    with pytest.raises(Diverged, match="the term is -"):
        reports(cfg)
    run = Run.build(cfg, toy(), "cpu")
    run.apply_config()
    run.step = 1
    Stepper(run).step(next(batches(1)), 0.5)  # not this step's turn


# Tasks on the real model


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("tasks", "rank"), [("exact5", 5), ("published5", 2)])
def test_rank_of_the_jacobian_on_hpcm_base(
    tasks: str, rank: int, image_batch: Callable[..., Tensor]
) -> None:
    """What test_tasks.py holds of hpcm_tiny; by the Gram matrix of unit gradients."""
    from hpcm.model import build_model

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_model("hpcm_base").train()
    x = image_batch(1)
    out = model(x, seeded_noise(model, x))
    parameters = list(model.parameters())
    gradients = [
        torch.autograd.grad(task, parameters, retain_graph=True, materialize_grads=True)
        for task in TASK_SETS[tasks](out, x, LossConfig())
    ]
    gram = torch.zeros(5, 5, dtype=torch.float64)
    for parts in zip(*gradients, strict=True):
        rows = torch.stack([part.flatten() for part in parts]).double()
        gram += rows @ rows.T
    lengths = gram.diagonal().sqrt()
    values = torch.linalg.eigvalsh(gram / lengths.outer(lengths)).clamp_min(0).sqrt()
    assert (values > 1e-2).sum().item() == rank, values.tolist()
    assert (values.sort(descending=True).values[rank:] < 1e-4).all(), values.tolist()
