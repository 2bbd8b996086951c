"""`precision.cuda_graph`: a recorded step gives the bits of the step itself, whatever changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from hpcm import ConfigError, TrainConfig
from hpcm.model import build_model
from hpcm.optimizers.balancer import Balancer
from hpcm.training import average, graphs
from hpcm.training.precision import check_recordable, settle
from hpcm.training.run import Run
from hpcm.training.step import Stepper
from tests.hpcm.training.recorded import CpuRecorder
from tests.toy_codec import ToyCodec

HUGE = 3e38
STEPS = 7


@pytest.fixture
def on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "Recorder", CpuRecorder)
    monkeypatch.setattr(average, "host_has", lambda value: False)
    monkeypatch.setattr(CpuRecorder, "recordings", 0)


class Marked(ToyCodec):
    """Has a gradient that is not finite for a batch whose first value is 0."""

    def forward(self, x: torch.Tensor, noise: dict[str, torch.Tensor] | None = None) -> dict:
        out = super().forward(x, noise)
        scale = self.scales_hyper_z
        huge = HUGE * (x[0, 0, 0, 0] == 0)
        out["x_hat"] = out["x_hat"] + (scale - scale.detach()).sum() * huge
        return out


def batches(side: int, skipped: tuple[int, ...]) -> Iterator[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    for number in range(3 * STEPS):
        x = torch.rand(2, 3, side, side, generator=generator)
        x[0, 0, 0, 0] = 0.0 if number in skipped else 0.5
        yield x


def trained(
    given: dict[str, Any],
    model: torch.nn.Module,
    side: int,
    skipped: tuple[int, ...],
    graph: bool,
    steps: int = STEPS,
    device: str = "cpu",
) -> dict[str, Any]:
    """Two epochs, of which the second has other learning rates and gammas; all that came of it."""
    cfg = TrainConfig.from_plain({"precision": {"check_every": 100}, **given}, "test")
    run = Run.build(cfg, model, device)
    run.precision = replace(run.precision, cuda_graph=graph)
    run.model.train()
    stepper = Stepper(run)
    taken = batches(side, skipped)
    read = []
    for run.epoch in (0, 1):
        run.apply_config()
        for _ in range(steps):
            stepper.step(next(taken).to(device), 0.0)
        read.append(stepper.read())
        run.balancer.observe(read[-1][1])
    return {
        "model": run.model.state_dict(),
        "moments": run.optimizer.state_dict()["state"],
        "balancer": run.balancer.state_dict(),
        "average": None if run.average is None else run.average.state_dict(),
        "read": read,
    }


SCHEDULED = {
    "epochs": 2,
    "schedule_horizon": 2,
    "lr_schedule": {"name": "linear"},
    "ema": {"decay": 0.8},
}
GIVEN = [
    *[({"balancer": {"name": name}}, 1) for name in ("sum", "famo", "famo_per_scale", "dwa")],
    ({"balancer": {"name": "famo", "weight_update_every": 2}}, 2),
    ({"balancer": {"name": "famo", "published": True}}, 1),
    ({"balancer": {"name": "uncertainty"}}, 1),
    ({"optimizer": {"name": "adamw", "lr": 1e-2}}, 1),
    ({"optimizer": {"name": "cautious_adam", "lr": 1e-2}, "balancer": {"name": "famo"}}, 1),
]


@pytest.mark.usefixtures("on_a_cpu")
@pytest.mark.parametrize(("given", "kinds"), GIVEN, ids=str)
def test_recorded_steps_give_the_bits_of_steps(given: dict[str, Any], kinds: int) -> None:
    """Steps that are skipped among them; ``kinds``: graphs of an epoch, with and without a look."""
    found = []
    for graph in (False, True):
        torch.manual_seed(2)
        model = Marked()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        whole = {"optimizer": {"lr": 1e-2}, **SCHEDULED, **given}
        found.append(trained(whole, model, 64, (1, 4, 10), graph))
    assert [metrics["train/skipped_steps"] for metrics, _ in found[0]["read"]] == [2, 1]
    assert CpuRecorder.recordings == 2 * kinds
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=0)


@pytest.mark.usefixtures("on_a_cpu")
def test_a_recorded_step_of_hpcm_waits_for_nothing_and_gives_its_bits() -> None:
    found = []
    for graph in (False, True):
        torch.manual_seed(2)
        given = {"balancer": {"name": "famo_per_scale"}, "ema": {"decay": 0.9}}
        found.append(trained(given, build_model("hpcm_tiny"), 256, (), graph, steps=4))
    assert CpuRecorder.recordings == 2
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=0)


@pytest.mark.usefixtures("on_a_cpu")
def test_what_cannot_be_recorded_is_refused() -> None:
    def of(**given: Any) -> TrainConfig:
        return TrainConfig.from_plain({"precision": {"cuda_graph": True}, **given}, "test")

    with pytest.raises(ConfigError, match=r"precision\.cuda_graph is true; cpu has no CUDA graphs"):
        settle(of(), torch.device("cpu"))
    assert settle(of(), torch.device("cuda")).check_every > 1
    with pytest.raises(ConfigError, match=r"cuda_graph is true, but precision\.check_every is 1"):
        of(precision={"cuda_graph": True, "check_every": 1})
    with pytest.raises(ConfigError, match="cuda_graph is true, but optimizer soap cannot skip"):
        of(optimizer={"name": "soap"})
    with pytest.raises(ConfigError, match="cuda_graph is true, but loss.metric ms_ssim copies"):
        of(loss={"metric": "ms_ssim", "lmbda": 8.0})
    run = Run.build(TrainConfig.from_plain({"balancer": {"name": "mgda"}}, "test"), Marked(), "cpu")
    with pytest.raises(ConfigError, match="cuda_graph is true, but balancer mgda waits"):
        check_recordable(run.balancer, "mgda")


@pytest.mark.usefixtures("on_a_cpu")
def test_a_balancer_that_counts_on_the_host_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph would count once, however often it is launched."""
    state_of, steps = Balancer.state_dict, [0]

    def counted(self: Balancer, losses: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        steps[0] += 1
        return self.weights, losses.sum()

    monkeypatch.setattr(Balancer, "weigh", counted)
    monkeypatch.setattr(Balancer, "state_dict", lambda self: {**state_of(self), "n": steps[0]})
    monkeypatch.setattr(Balancer, "update_where", lambda *_: None)
    with pytest.raises(ConfigError, match="balancer sum or optimizer adam counts on the host"):
        trained({}, Marked(), 64, (), graph=True)


@pytest.mark.usefixtures("on_a_cpu")
def test_a_balancer_that_copies_its_state_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its graph would read tensors that nobody writes any more."""

    def copying(self: Balancer, state: dict[str, Any]) -> None:
        self.losses, self.weights = state["losses"].clone(), state["weights"].clone()

    monkeypatch.setattr(Balancer, "load_state_dict", copying)
    with pytest.raises(TypeError, match="balancer sum copies what load_state_dict gives it"):
        trained({}, Marked(), 64, (), graph=True)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["sum", "famo_per_scale"])
@pytest.mark.parametrize("optimizer", ["adam", "cautious_adam"])
@pytest.mark.parametrize("precision", [{}, {"preset": "auto"}], ids=["float32", "auto"])
def test_a_gpu_takes_recorded_steps_as_it_takes_steps(
    name: str, optimizer: str, precision: dict[str, Any]
) -> None:
    """Up to what its kernels round differently; a large eps keeps Adam from enlarging that."""
    found = []
    for graph in (False, True):
        torch.manual_seed(2)
        given = {
            "balancer": {"name": name},
            "optimizer": {"name": optimizer, "lr": 1e-2, "eps": 1.0},
            "ema": {"decay": 0.9},
            "precision": {"check_every": 100, **precision},
        }
        model = build_model("hpcm_tiny")
        found.append(trained(given, model, 256, (), graph, device="cuda"))
    torch.testing.assert_close(found[1], found[0], rtol=1e-2, atol=1e-4)
