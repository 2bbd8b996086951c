"""Optimizers and balancers as a run config names them: defaults, refusals, what is hot."""

from __future__ import annotations

from typing import Any

import pytest

from hpcm.config import TrainConfig
from hpcm.losses import TASK_SETS
from hpcm.optimizers import BALANCERS, OPTIMIZERS
from hpcm.schema import ConfigError, fields_of

pytestmark = pytest.mark.filterwarnings("ignore:balancer learned_shares degenerates")


def read(part: str, given: dict[str, Any]) -> Any:
    return getattr(TrainConfig.from_plain({part: given}, "run"), part)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer_by_name_round_trip(name: str) -> None:
    config = read("optimizer", {"name": name})
    assert type(config) is OPTIMIZERS[name]
    assert config.name == name
    run = TrainConfig(optimizer=config)
    assert TrainConfig.from_plain(run.to_plain(), "run") == run


@pytest.mark.parametrize("name", BALANCERS)
def test_balancer_by_name_round_trip(name: str) -> None:
    config = read("balancer", {"name": name})
    assert type(config) is BALANCERS[name]
    assert config.name == name
    run = TrainConfig(balancer=config)
    assert TrainConfig.from_plain(run.to_plain(), "run") == run
    tasks = TASK_SETS[config.tasks]
    balancer = config.build(tasks, "cpu")
    assert balancer.names == tasks.names


def test_defaults_are_the_published_settings() -> None:
    famo, per_scale = (
        read("balancer", {"name": "famo"}),
        read("balancer", {"name": "famo_per_scale"}),
    )
    assert (famo.gamma, famo.w_lr, famo.tasks, famo.gamma_schedule.name) == (
        3e-3,
        2.5e-2,
        "two_task",
        "fixed",
    )
    assert (per_scale.gamma_s1, per_scale.gamma_s2, per_scale.gamma_s3) == (8e-3, 6e-3, 4e-3)
    assert per_scale.scale_weights == (0.3, 0.4, 0.3)
    assert per_scale.gamma_schedule.name == "hierarchical"
    assert read("optimizer", {"name": "cautious_adam"}).cap == 10
    assert read("balancer", {"name": "mgda"}).log_losses  # of Balanced R-D's second solution
    assert not read("balancer", {"name": "upgrad"}).log_losses


def test_hot_fields() -> None:
    """What PBT may mutate; a field that decides which run it is must not be here."""
    hot = {field.path for field in fields_of(TrainConfig) if field.hot}
    optimizer = {"lr", "one_minus_beta1", "one_minus_beta2", "eps", "weight_decay", "cap"}
    assert {path for path in hot if path.startswith("optimizer.")} == {
        f"optimizer.{name}" for name in optimizer
    }
    balancer = {"gamma", "gamma_s1", "gamma_s2", "gamma_s3", "scale_weights", "w_lr", "min_weight"}
    assert {f"balancer.{name}" for name in balancer} <= hot
    decide = {"tasks", "offset", "published", "decay", "weight_update_every", "name"}
    assert not {f"balancer.{name}" for name in decide} & hot


@pytest.mark.parametrize(
    ("part", "given", "message"),
    [
        ("optimizer", {"name": "adam", "cap": 3.0}, "optimizer.cap: unknown key"),
        ("optimizer", {"name": "cadam"}, "optimizer.name: 'cadam' is unknown"),
        ("optimizer", {"lr": "1e-4"}, "optimizer.lr: .* write 1.0e-4"),
        ("balancer", {"name": "sum", "gamma": 0.1}, "balancer.gamma: unknown key"),
        ("balancer", {"name": "famo", "gamma_s1": 0.1}, "balancer.gamma_s1: unknown key"),
        ("balancer", {"name": "famo", "tasks": "exact4"}, "balancer.tasks: 'exact4' is unknown"),
        (
            "balancer",
            {"name": "famo", "gamma_schedule": {"name": "hierarchical"}},
            "balancer.gamma_schedule.name: 'hierarchical' is unknown",
        ),
        (
            "balancer",
            {"name": "famo_per_scale", "gamma_schedule": {"name": "step"}},
            "balancer.gamma_schedule.name: 'step' is unknown",
        ),
        (
            "balancer",
            {"name": "famo_per_scale", "gamma_schedule": {"name": "hierarchical", "final": 0.5}},
            "balancer.gamma_schedule.final: unknown key",
        ),
        (
            "balancer",
            {"name": "famo", "gamma_schedule": {"name": "cosine", "final": 0.0}},
            "final is 0.0; must be in",
        ),
        (
            "balancer",
            {"name": "famo", "gamma_schedule": {"name": "step", "milestones": [0.5, 0.2]}},
            "must ascend",
        ),
        (
            "balancer",
            {"name": "famo", "gamma_schedule": {"name": "adaptive", "flat": 0.1}},
            "must be 0 < flat < noisy",
        ),
        ("balancer", {"name": "famo", "published": True, "offset": 1.0}, "balancer: offset is 1.0"),
    ],
)
def test_refuses(part: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(part, given)
