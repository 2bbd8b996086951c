"""Named parts partition every variant's parameters; factors, freezing and unfreezing of them."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hpcm.model import MODELS, build_model
from hpcm.model.coding_order import CODING_ORDER
from hpcm.optimizers import OPTIMIZERS, Adam, eval_mode, train_mode
from hpcm.optimizers.param_groups import PARTS, SCALES_OF, PartRate, Parts, part_of, scales_of
from tests.noise import seeded_noise

GOLDEN = json.loads(
    (Path(__file__).parents[2] / "golden/balanced_discriminative_lr.json").read_text()
)


@cache
def model_of(variant: str) -> nn.Module:
    with torch.device("meta"):
        return build_model(variant)


def tiny_parameters() -> list[tuple[str, Tensor]]:
    """One small parameter per name in hpcm_tiny."""
    return [
        (name, nn.Parameter(torch.ones(2))) for name, _ in model_of("hpcm_tiny").named_parameters()
    ]


@pytest.mark.parametrize("variant", MODELS)
def test_every_parameter_is_in_exactly_one_part(variant: str) -> None:
    names = [name for name, _ in model_of(variant).named_parameters()]
    for name in names:
        matching = [part for part, starts in PARTS.items() if name.startswith(starts)]
        assert matching == [part_of(name)]
    groups = Parts().groups(model_of(variant).named_parameters())
    assert [group["part"] for group in groups] == list(PARTS)
    assert sum(len(group["params"]) for group in groups) == len(names)
    assert all(group["params"] for group in groups)


def test_every_beginning_is_that_of_a_parameter() -> None:
    """Of a variant at least: a pattern that matches nothing would freeze nothing."""
    names = [name for variant in MODELS for name, _ in model_of(variant).named_parameters()]
    beginnings = [start for starts in (*PARTS.values(), tuple(SCALES_OF)) for start in starts]
    assert [b for b in beginnings if not any(name.startswith(b) for name in names)] == []


@pytest.mark.parametrize("variant", MODELS)
def test_every_context_parameter_has_its_scales(variant: str) -> None:
    names = [name for name, _ in model_of(variant).named_parameters()]
    for name in names:
        scales = scales_of(name)
        assert (scales == (1, 2, 3)) == (part_of(name) != "context"), name
        for scale in (1, 2, 3):
            if f"_s{scale}." in name and not name.startswith("attn_s1."):
                assert scale in scales
    # s3 alone decides on most of the context; nothing of it belongs to no scale
    assert {scales_of(name) for name in names} == {(1,), (2,), (3,), (1, 2), (1, 2, 3)}


def test_gains_belong_to_the_scales_of_their_steps() -> None:
    steps = [step for step in CODING_ORDER if step.gain is not None]
    assert len(steps) == 10
    for step in steps:
        assert scales_of(f"adaptive_params_list.{step.gain}") == (step.scale,)


def test_a_parameter_acts_on_the_rate_of_its_scales_first() -> None:
    """On hpcm_tiny: on no rate of a scale coded before them, and on that of the first of them."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_model("hpcm_tiny").train()
    x = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    bits = model(x, seeded_noise(model, x))["bits"]["steps"].sum(0)
    names, parameters = zip(
        *((n, p) for n, p in model.named_parameters() if part_of(n) == "context"), strict=True
    )
    acts: dict[str, set[int]] = {name: set() for name in names}
    for scale, rate in enumerate((part.sum() for part in bits.split((2, 3, 6))), 1):
        gradients = torch.autograd.grad(
            rate, parameters, retain_graph=scale < 3, materialize_grads=True
        )
        for name, gradient in zip(names, gradients, strict=True):
            acts[name] |= {scale} if bool(gradient.any()) else set()
    assert {name: min(of) for name, of in acts.items()} == {
        name: min(scales_of(name)) for name in names
    }


def test_the_context_is_most_of_the_model() -> None:
    sizes: Counter[str] = Counter()
    for name, parameter in model_of("hpcm_base").named_parameters():
        sizes[part_of(name)] += parameter.numel()
    assert sizes["context"] / sizes.total() == pytest.approx(0.669, abs=0.001)


def test_an_unknown_parameter_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'aux\.weight' is in no part"):
        Parts().groups([("aux.weight", torch.ones(1))])


def test_published_factors() -> None:
    """The golden file counts in epochs of 25; warm-ups and decays are fractions of the horizon."""
    epochs, kwargs = len(GOLDEN["lr"]), GOLDEN["kwargs"]
    columns = {"g_a": 1e-4, "h_s": 5e-5, "default": 1e-5}
    for column, (group, base) in enumerate(columns.items()):
        rate = PartRate(
            warmup=kwargs["warmup_epochs"].get(group, 0) / epochs,
            decays=tuple(e / epochs for e in kwargs["decay_epochs"].get(group, [])),
            decay_rate=kwargs["decay_rate"],
        )
        got = [base * rate.factor(e / epochs, 1 / epochs) for e in range(epochs)]
        assert got == pytest.approx([row[column] for row in GOLDEN["lr"]], rel=1e-9)


def test_factors_reach_the_optimizer() -> None:
    parts = Parts(context=PartRate(mult=0.1), h_a=PartRate(mult=0.5, decays=(0.5,)))
    config = Adam(lr=1e-3)
    optimizer = config.build(parts.groups(tiny_parameters()))
    rates = []
    for t in (0.0, 0.5):
        parts.apply(optimizer, t, 0.01)
        config.apply(optimizer, 1.0)
        rates.append({group["part"]: group["lr"] for group in optimizer.param_groups})
    assert rates[0]["context"] == rates[1]["context"] == pytest.approx(1e-4)
    assert (rates[0]["h_a"], rates[1]["h_a"]) == pytest.approx((5e-4, 2.5e-4))
    assert rates[0]["g_a"] == 1e-3


@pytest.mark.parametrize(
    ("freeze", "t", "training"),
    [
        ("none", 0.0, set(PARTS)),
        ("entropy", 1.0, set(PARTS) - {"entropy"}),
        ("context_only", 1.0, {"context"}),
        ("progressive", 0.0, {"g_a", "g_s"}),
        ("progressive", 0.19, {"g_a", "g_s"}),
        ("progressive", 0.2, {"g_a", "g_s", "h_a", "h_s", "entropy"}),
        ("progressive", 0.4, set(PARTS)),
    ],
)
def test_frozen_parts(freeze: Any, t: float, training: set[str]) -> None:
    parts, parameters = Parts(freeze=freeze), tiny_parameters()
    for _, parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    count = parts.set_trainable(parameters, t)
    assert {part_of(name) for name, p in parameters if p.grad is not None} == training
    assert {part_of(name) for name, p in parameters if p.requires_grad} == training
    assert count == sum(2 for name, _ in parameters if part_of(name) in training)


def test_unfrozen_parameters_start_to_move_and_frozen_ones_never_do() -> None:
    """Also with weight decay and with moments left from before."""
    parts, parameters = Parts(freeze="progressive"), tiny_parameters()
    optimizer = Adam(lr=0.1, weight_decay=0.1).build(parts.groups(parameters))

    def moved(t: float, stopped: tuple[int, ...] = ()) -> set[str]:
        parts.set_trainable(parameters, t, stopped)
        before = {name: p.detach().clone() for name, p in parameters}
        optimizer.zero_grad()
        torch.stack([p.square().sum() for _, p in parameters]).sum().backward()
        optimizer.step()
        return {name for name, p in parameters if not torch.equal(p, before[name])}

    names = {name for name, _ in parameters}
    context = {name for name in names if part_of(name) == "context"}
    assert moved(0.3) == names - context
    assert moved(0.5) == names
    of_s3 = {name for name in names if scales_of(name) == (3,)}
    assert "attn_s3" in {name.partition(".")[0] for name in of_s3}
    assert moved(0.5, stopped=(3,)) == names - of_s3
    of_s1_s2 = {name for name in names if set(scales_of(name)) <= {1, 2}}
    assert any(name.startswith("y_spatial_prior_s1_s2.") for name in of_s1_s2)
    assert moved(0.5, stopped=(1, 2)) == names - of_s1_s2
    parts.set_trainable(parameters, 0.5, (1, 2, 3))
    assert not any(p.requires_grad for _, p in parameters)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_is_unfrozen_late_moves_from_its_first_step_on(name: str) -> None:
    """Also where an optimizer counts steps or makes its state at the first one."""
    parts, parameters = (
        Parts(freeze="progressive"),
        [
            (key, nn.Parameter(torch.linspace(-1, 1, 6).reshape(2, 3)))
            for key in ("g_a.0.weight", "attn_s3.conv.weight")
        ],
    )
    late = parameters[1][1]
    optimizer = OPTIMIZERS[name](lr=0.05).build(parts.groups(parameters))
    train_mode(optimizer)
    costs = []
    for step in range(15):
        parts.set_trainable(parameters, 0.0 if step < 5 else 0.5)
        optimizer.zero_grad()
        torch.stack([(p - 2).square().sum() for _, p in parameters]).sum().backward()
        optimizer.step()
        costs.append((late.detach() - 2).square().sum().item())
    assert len(set(costs[:5])) == 1
    assert costs[4:] == sorted(set(costs[4:]), reverse=True)
    assert costs[-1] < 0.9 * costs[0]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_has_stopped_is_still_for_every_optimizer(name: str) -> None:
    """Neither decay nor momentum moves it or the optimizer's state of it; later it moves again."""
    parts, parameters = (
        Parts(),
        [
            (key, nn.Parameter(torch.linspace(-1, 1, 6).reshape(2, 3)))
            for key in ("g_a.0.weight", "attn_s3.conv.weight")
        ],
    )
    stopping = parameters[1][1]
    config = OPTIMIZERS[name](lr=0.05)
    if hasattr(config, "weight_decay"):
        config = replace(config, weight_decay=0.1)
    optimizer = config.build(parts.groups(parameters))

    def epoch(stopped: tuple[int, ...]) -> str:
        """The parameter and all that the optimizer keeps of it, after four steps."""
        parts.set_trainable(parameters, 0.5, stopped)
        train_mode(optimizer)
        for _ in range(4):
            optimizer.zero_grad()
            torch.stack([(p - 2).square().sum() for _, p in parameters]).sum().backward()
            optimizer.step()
        eval_mode(optimizer)
        return repr((stopping.detach().tolist(), optimizer.state[stopping]))

    trained = epoch(stopped=())
    assert [epoch(stopped=(3,)) for _ in range(3)] == [trained] * 3
    assert epoch(stopped=()) != trained


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mult": 0.0}, "mult is 0.0; must be above 0"),
        ({"warmup": 1.0}, "warmup is 1.0"),
        ({"decay_rate": 0.0}, "decay_rate is 0.0"),
        ({"decays": (0.5, 0.2)}, r"decays is \[0.5, 0.2\]"),
        ({"decays": (0.0,)}, r"decays is \[0.0\]"),
    ],
)
def test_refused_rates(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PartRate(**values)


def test_refused_order_of_unfreezing() -> None:
    with pytest.raises(ValueError, match=r"unfreeze_hyper is 0\.5 and unfreeze_context is 0\.4"):
        Parts(unfreeze_hyper=0.5)
