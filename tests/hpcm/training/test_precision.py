"""Each field of ``precision`` does what it says: presets, looks at the device, compiled graphs."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from functorch.compile import make_boxed_func
from torch._dynamo.backends.common import aot_autograd

from benchmarks.kernels import WaitCounter
from hpcm import ConfigError, Diverged, TrainConfig, train
from hpcm.optimizers.balancer import TensorAdam
from hpcm.training import compiled, precision
from hpcm.training.compiled import CompileFailed
from hpcm.training.precision import CHECK_EVERY, Settings, SlowPrecision, has_bf16_units, settle
from hpcm.training.run import Run
from hpcm.training.state import differences
from hpcm.training.step import Stepper
from tests.toy_codec import ToyCodec

CPU = torch.device("cpu")
OFF = Settings(autocast="none", channels_last=False, check_every=1, compile="none")


def config(**given: Any) -> TrainConfig:
    return TrainConfig.from_plain({"optimizer": {"lr": 1e-2}, **given}, "test")


def of(**fields: Any) -> TrainConfig:
    return config(precision=fields)


class Broken(ToyCodec):
    """Has a loss, or a gradient, that is not finite in some of its steps."""

    def __init__(self, gradient: tuple[int, ...] = (), loss: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.gradient, self.loss, self.step = gradient, loss, -1

    def forward(self, x: torch.Tensor, noise: dict[str, torch.Tensor] | None = None) -> dict:
        self.step += torch.is_grad_enabled()
        out = super().forward(x, noise)
        if self.step in self.loss:
            out["x_hat"] = out["x_hat"] * math.nan
        if self.step in self.gradient:
            out["x_hat"] = out["x_hat"] + (self.scales_hyper_z * 0).sqrt()
        return out


def batches() -> Iterator[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    while True:
        yield torch.rand(2, 3, 64, 64, generator=generator)


def stepped(cfg: TrainConfig, model: ToyCodec, steps: int) -> tuple[Run, Stepper]:
    torch.manual_seed(2)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    run = Run.build(cfg, model, "cpu")
    run.apply_config()
    run.model.train()
    stepper = Stepper(run)
    for x, _ in zip(batches(), range(steps), strict=False):
        stepper.step(x, 0.0)
    return run, stepper


# --- presets ---------------------------------------------------------------------------------


def test_reference_is_everything_off_and_the_default() -> None:
    assert settle(TrainConfig(), CPU) == settle(of(preset="reference"), CPU) == OFF


def test_auto_takes_what_suits_a_cpu_unless_a_field_says_otherwise() -> None:
    found = settle(of(preset="auto"), CPU)
    assert found == Settings("none", channels_last=True, check_every=CHECK_EVERY, compile="none")
    given = {"channels_last": False, "check_every": 7, "compile": "graph"}
    assert settle(of(preset="auto", **given), CPU) == Settings("none", False, 7, "graph")


def test_auto_takes_bfloat16_on_a_gpu_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    assert settle(of(preset="auto"), gpu).autocast == "bfloat16"
    assert settle(TrainConfig(), gpu) == OFF
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Old")
    assert settle(of(preset="auto"), gpu).autocast == "none"
    with pytest.raises(ConfigError, match=r"precision\.autocast: bfloat16: Old cannot; none is"):
        settle(of(autocast="bfloat16"), gpu)


def test_what_earlier_versions_wrote_is_the_same_run() -> None:
    old = of(autocast="none", channels_last=False, threads=None)
    assert old == TrainConfig.from_plain(old.to_plain(), "again")
    assert old.digest == config().digest == of(check_every=3).digest
    assert not differences(old, of(check_every=3))
    others = [of(preset="auto"), of(compile="graph"), of(channels_last=True)]
    assert len({cfg.digest for cfg in [old, *others]}) == 4
    assert TrainConfig().digest == "42c1de338e9f"


def test_bfloat16_without_units_for_it_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bf16_units", lambda: False)
    with pytest.warns(SlowPrecision, match=r"no matrix units for it \(AMX\)"):
        settle(of(autocast="bfloat16"), CPU)
    monkeypatch.setattr(precision, "has_bf16_units", lambda: True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        settle(of(autocast="bfloat16"), CPU)


def test_units_for_bfloat16_are_read_from_the_kernel(tmp_path: Path) -> None:
    flags = tmp_path / "cpuinfo"
    assert not has_bf16_units(flags)
    flags.write_text("flags : fpu avx512_bf16\n")
    assert not has_bf16_units(flags)
    flags.write_text("flags : fpu amx_bf16 amx_tile\n")
    assert has_bf16_units(flags)


# --- check_every -----------------------------------------------------------------------------

BALANCERS = [
    {"name": "sum"},
    {"name": "famo"},
    {"name": "famo", "weight_update_every": 2},
    {"name": "famo_per_scale"},
    {"name": "uncertainty"},
    {"name": "direct"},
    {"name": "learned_shares", "w_lr": 0.01},
    {"name": "dwa"},
]


@pytest.mark.filterwarnings("ignore:balancer learned_shares degenerates")
@pytest.mark.parametrize(
    ("balancer", "optimizer"),
    [(balancer, "adam") for balancer in BALANCERS]
    + [({"name": "famo_per_scale"}, name) for name in ("adamw", "cautious_adam")],
    ids=str,
)
def test_a_skipped_step_touches_nothing_whenever_it_is_told(
    balancer: dict[str, Any], optimizer: str
) -> None:
    """Weights, states and means are the same bits as where the host is asked in each step."""
    found = []
    for every in (1, 4, 100):
        cfg = config(
            balancer=balancer,
            optimizer={"name": optimizer, "lr": 1e-2, "weight_decay": 0.1},
            ema={"decay": 0.8},
            precision={"check_every": every},
        )
        run, stepper = stepped(cfg, Broken(gradient=(0, 2, 3, 7)), 9)
        metrics, scales = stepper.read()
        assert metrics["train/skipped_steps"] == 4
        moments = run.optimizer.state_dict()["state"]
        assert run.average is not None
        average = run.average.state_dict()
        states = run.model.state_dict(), moments, run.balancer.state_dict(), average
        found.append({"states": states, "metrics": metrics, "scales": scales})
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=0, atol=0)


def test_a_checkpoint_that_counts_steps_on_the_host_still_loads() -> None:
    adams = [TensorAdam(torch.zeros(2, dtype=torch.float64)) for _ in range(2)]
    adams[0].step(torch.zeros(2), torch.ones(2, dtype=torch.float64), 0.1)
    adams[1].load_state_dict({**adams[0].state_dict(), "steps": 1})
    torch.testing.assert_close(adams[1].state_dict(), adams[0].state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("every", [1, 4, 100])
def test_diverged_names_the_step_although_it_is_told_later(every: int) -> None:
    cfg = of(check_every=every)
    model = Broken(gradient=(1,), loss=(3, 4))
    with pytest.raises(Diverged, match="^step 3: the loss is not finite: distortion nan$"):
        stepped(cfg, model, 9)[1].read()
    assert model.step == {1: 3, 4: 3, 100: 8}[every]
    with pytest.raises(Diverged, match="^step 13: 10 steps in a row had a non-finite gradient$"):
        stepped(cfg, Broken(gradient=(0, *range(4, 30))), 20)[1].read()


@pytest.mark.parametrize("every", [1, 100])
def test_a_loss_below_its_floor_is_explained_by_its_own_step(every: int) -> None:
    cfg = config(balancer={"name": "famo"}, precision={"check_every": every})
    run, stepper = stepped(cfg, ToyCodec(), 1)
    run.balancer.floor = torch.tensor([1e9, -1.0], dtype=torch.float64)

    def go_on() -> None:
        stepper.step(next(batches()), 0.0)
        stepper.read()

    with pytest.raises(Diverged) as ended:
        go_on()
    assert "step 1: the task weights are not finite: distortion: loss" in ended.value.reason


@pytest.mark.parametrize("balancer", ["sum", "famo", "famo_per_scale"])
def test_a_step_waits_for_the_device_as_often_as_check_every_says(balancer: str) -> None:
    for every, waits in ((1, 6), (3, 2), (100, 0)):
        cfg = config(balancer={"name": balancer}, precision={"check_every": every})
        _, stepper = stepped(cfg, ToyCodec(), 1)
        stepper.read()
        with WaitCounter() as counter:
            for x, _ in zip(batches(), range(6), strict=False):
                stepper.step(x, 0.0)
        assert counter.total == waits


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"optimizer": {"name": "soap"}}, "optimizer soap cannot skip a step on the device"),
        (
            {"regularizers": {"inter_scale": {"delta": 0.1}}},
            "regularizer inter_scale looks at the steps that are taken",
        ),
    ],
)
def test_what_has_to_know_at_once_is_refused_in_words_and_auto_sees_to_it(
    given: dict[str, Any], why: str
) -> None:
    with pytest.raises(ConfigError, match=f"precision.check_every is 9, but {why}; it can be 1"):
        config(**given, precision={"check_every": 9})
    assert settle(config(**given, precision={"preset": "auto"}), CPU).check_every == 1


# --- compile ---------------------------------------------------------------------------------


def graphs() -> int:
    from torch._dynamo.utils import counters

    return int(counters["stats"]["unique_graphs"])


@pytest.mark.parametrize(("balancer", "looks"), [("sum", 1), ("famo", 2)])
def test_model_and_loss_are_one_graph_for_each_kind_of_look(
    balancer: str, looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAMO looks at the losses again after a step."""
    monkeypatch.setattr(compiled, "BACKEND", "aot_eager")
    torch._dynamo.reset()
    settings = {"balancer": {"name": balancer}}
    plain, _ = stepped(config(**settings), ToyCodec(), 3)
    before = graphs()
    run, stepper = stepped(config(**settings, precision={"compile": "graph"}), ToyCodec(), 3)
    assert graphs() - before == looks
    assert stepper.read()[0]["train/compiled"] == 1
    states = run.model.state_dict(), run.balancer.state_dict()
    expected = plain.model.state_dict(), plain.balancer.state_dict()
    torch.testing.assert_close(states, expected, rtol=1e-5, atol=1e-6)


class Uncompilable(ToyCodec):
    """Breaks the graph."""

    def forward(self, x: torch.Tensor, noise: dict[str, torch.Tensor] | None = None) -> dict:
        torch._dynamo.graph_break()
        return super().forward(x, noise)


def test_a_compile_that_fails_is_said_once_and_the_run_goes_on(
    image_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "BACKEND", "aot_eager")
    data = {"train": image_folder, "val": image_folder, "patch": 64, "batch_size": 1, "workers": 0}
    cfg = config(data=data, epochs=2, precision={"compile": "graph"})
    with pytest.warns(CompileFailed, match="precision.compile: graph: it cannot be com") as caught:
        reports = list(train(cfg, model=Uncompilable(), device="cpu"))
    assert [warning.category for warning in caught].count(CompileFailed) == 1
    assert [report.metrics["train/compiled"] for report in reports] == [0, 0]


def cannot(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> None:
    raise RuntimeError("no code for this")


def broken_backward(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Any:
    """A backend that compiles the forward pass only."""
    compiler = aot_autograd(fw_compiler=lambda g, _: make_boxed_func(g.forward), bw_compiler=cannot)
    return compiler(graph, inputs)


def test_a_backward_pass_that_cannot_be_compiled_is_said_in_its_first_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compiled, "BACKEND", broken_backward)
    torch._dynamo.reset()
    with pytest.warns(CompileFailed, match="no code for this"):
        run, stepper = stepped(of(compile="graph"), ToyCodec(), 2)
    assert stepper.read()[0]["train/compiled"] == 0
    assert run.step == 2


def test_a_run_that_needs_more_graphs_than_torch_allows_goes_on_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As by parts that are unfrozen in turn; here the look after a step is one too many."""
    monkeypatch.setattr(compiled, "BACKEND", "aot_eager")
    monkeypatch.setattr(torch._dynamo.config, "recompile_limit", 1)
    torch._dynamo.reset()
    with pytest.warns(CompileFailed, match="FailOnRecompileLimitHit"):
        _, stepper = stepped(
            config(balancer={"name": "famo"}, precision={"compile": "graph"}), ToyCodec(), 2
        )
    assert stepper.read()[0]["train/compiled"] == 0
