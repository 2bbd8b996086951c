"""What a search-space file may not hold: one line per problem, with file, key and nearest match."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpcm.schema import ConfigError
from tests.tuning.small_spaces import LR, Change, drop, put
from tuning import load_space

GAMMA = "parameters/balancer.gamma"
REFUSED: list[tuple[Change, str]] = [
    (put("fidelty", {}), "fidelty: unknown key. Did you mean 'fidelity'?"),
    (put("confirms", {"top": 4}), "confirms: unknown key"),
    (put("optimizer", {}), "optimizer: unknown key; a field of the run config stands under base"),
    (put("name", "other"), "name: 'other', but the file is mine.yaml; give both one name"),
    (put("parameters", {}), "parameters: missing"),
    (put("parameters", [1]), "parameters: [1]; must be a mapping"),
    (put("base", None), "base: None; must be a mapping"),
    # base
    (put("base/optimiser", {}), "base.optimiser: unknown key. Did you mean 'optimizer'?"),
    (put("base/data/bach_size", 4), "base.data.bach_size: unknown key. Did you mean 'batch_size'?"),
    (put("base/data/batch_size", 0), "base.data.batch_size: 0; must be 1 or more"),
    (put("base/data/batch_size", "4"), "'4': should be a valid integer. It is in quotes; write 4"),
    (put("base/epochs", 4), "base.epochs: not allowed here; give fidelity.max instead"),
    (put("base/data/train", "/data/x"), "base.data.train: '/data/x' is a path"),
    (put("base/validate_every", 0), "base.validate_every: 0; must be 1 or more"),
    (put("base/model", {"name": None}), "base.model.name: None is unknown; allowed: hpcm_1b"),
    (put("base/precision", {"threads": 0}), "base.precision.threads: 0; must be 1 to 1,024"),
    (put("base/validate_every", 4), "base.validate_every: 4, but trials are compared at epoch 2"),
    (put("base/balancer/w_lr", 0.1), "no config can be built with balancer.name = sum"),
    # parameters: one at a time
    (put("parameters/optimizer.lr", 3), "optimizer.lr: 3; must be a mapping with a type"),
    (drop("parameters/optimizer.lr/type"), "optimizer.lr.type: missing; allowed: bool, "),
    (put("parameters/optimizer.lr/type", "flaot"), "'flaot' is unknown. Did you mean 'float'?"),
    (put("parameters/optimizer.lr/type", ["float"]), "optimizer.lr.type: ['float'] is unknown"),
    (put("parameters/optimizer.lr/lo", 1), "optimizer.lr.lo: unknown key. Did you mean 'low'?"),
    (drop("parameters/optimizer.lr/prior"), "parameters.optimizer.lr.prior: missing"),
    (put("parameters/optimizer.lr/prior", 1.0), "optimizer.lr.prior: 1, outside 1e-05 to 0.0005"),
    (put("parameters/optimizer.lr/low", "1e-4"), "YAML reads 1e-4 as text; write 1.0e-4"),
    # parameters: paths
    (put("parameters/optimizer.lrr", LR), "no such field. Did you mean 'optimizer.lr'?"),
    (put("parameters/optimizer", LR), "parameters.optimizer: no such field"),
    (put("base/optimizer", {"lr": 1e-4}), "optimizer.lr: base fixes it to 0.0001; give it in one"),
    (put("parameters/loss.lmbda", LR), "loss.lmbda: cannot be searched: it would change the unit"),
    (put("parameters/schedule_horizon", LR), "cannot be searched: give it as fidelity.schedule"),
    # parameters: conditions
    (put(f"{GAMMA}/when", {"balancer.nam": 1}), "Did you mean 'balancer.name'?"),
    (put(f"{GAMMA}/when", {"balancer.gamma_schedule.name": "fixed"}), "declared above; move it up"),
    (put(f"{GAMMA}/when", {"balancer.gamma": 1}), "balancer.gamma is not a parameter declared"),
    (put(f"{GAMMA}/when", {"balancer.name": "fomo"}), "can never be 'fomo'; one of sum, famo"),
    (put(f"{GAMMA}/when", {"balancer.name": []}), "balancer.name: [] allows nothing"),
    (put(f"{GAMMA}/when", {"optimizer.lr": 1e-4}), "a float without zero has no choices"),
    (
        put(
            "parameters/balancer.gamma_schedule.final/when",
            {"balancer.gamma_schedule.name": "linear", "balancer.name": "famo"},
        ),
        "can never hold: its parents want balancer.name to differ",
    ),
    (drop(f"{GAMMA}/when"), "which has no such field; write when: {balancer.name: famo}"),
    (
        put(f"{GAMMA}/when", {"balancer.name": ["sum", "famo"]}),
        "balancer.gamma: active also under balancer.name = sum, which has no such field",
    ),
    # parameters: mutable
    (put("parameters/balancer.name/mutable", True), "it decides whether another parameter"),
    (
        put("parameters/regularizers.inter_scale.mode/mutable", True),
        "regularizers.inter_scale.mode.mutable: the field cannot change during a run",
    ),
    # choices and bounds for which no config can be built
    (
        put("parameters/balancer.name/choices", ["sum", "famo", "famo_per_scale", "fomo"]),
        "balancer.name: no config can be built with balancer.name = fomo: 'fomo' is unknown",
    ),
    (
        lambda data: data["parameters"]["balancer.gamma"].update(low=-1.0, log=False),
        "parameters.balancer.gamma: no config can be built with balancer.name = famo,"
        " balancer.gamma = -1.0",
    ),
    (
        put("parameters/seed", {"type": "float", "low": 0.0, "high": 1.0, "prior": 0.0}),
        "parameters.seed: no config can be built",
    ),
    (put("parameters/balancer.name/choices", ["sum", 1, True]), "1 and True, which are equal"),
    (put("parameters/balancer.name/choices", [1.0, 1]), "1.0 and 1, which are equal"),
    (
        put(
            "parameters/clip_max_norm",
            {"type": "categorical", "choices": [1.0, float("nan")], "prior": 1.0},
        ),
        "parameters.clip_max_norm: choices holds nan; must be finite scalars",
    ),
    (
        put("parameters/seed", {"type": "int", "low": 0, "high": 10**30, "prior": 0}),
        "parameters.seed.high: 1000000000000000000000000000000; must be within 2^53 of 0",
    ),
    # sections
    (put("fidelity/max", 10**6), "fidelity.max: 1000000; must be 999,999 or fewer epochs"),
    (put("fidelity/name", 3), "fidelity.name: 3 is unknown; allowed: epochs"),
    (put("searcher/seed", -1), "searcher.seed: -1; must be 0 or more"),
    (put("searcher", {"name": "random", "seed": -1}), "searcher.seed: -1; must be 0 or more"),
    (put("budget/trials", 10**7), "budget.trials: 10000000; must be 1,000,000 or fewer"),
    (put("resources", {"gpu": 1.0e-9}), "resources.gpu: 1e-09; must be 0.0001 or more"),
    (put("resources", {"cpu": 10**9}), "resources.cpu: 1e+09; must be 1,024 or fewer"),
    (put("fidelity/min", 0), "fidelity.min: 0; must be 1 or more epochs"),
    (put("fidelity/min", 19), "fidelity.min: 19, above max (18)"),
    (put("fidelity/max", "18"), "fidelity.max: '18': should be a valid integer"),
    (put("fidelity/schedule_horizon", 17), "fidelity.schedule_horizon: 17, below max (18)"),
    (put("objective", {"metric": "val_psnr"}), "mode: min; val_psnr is better when larger"),
    (
        put("objective", {"metric": "val_rdcost"}),
        "'val_rdcost' is unknown; allowed: delta_rate, val_bpp, val_ms_ssim_db, val_psnr, val_rd_",
    ),
    (
        put("objective", {"metric": "delta_rate", "reference": {"config": {"loss": {"a": 1}}}}),
        "objective.reference.config: loss.a: unknown key",
    ),
    (
        put("objective", {"metric": "delta_rate", "reference": {"config": {"a": 1, "b": 2}}}),
        "mine.yaml: objective.reference.config: b: unknown key",
    ),
    (put("fidelity/schedule_horizon", "all"), "horizon: 'all' is unknown; allowed: int, max"),
    (put("fidelity/schedule_horizon", 9.5), "schedule_horizon: 9.5 is unknown; allowed: int, max"),
    (put("scheduler", {"name": "ahsa"}), "scheduler.name: 'ahsa' is unknown. Did you mean 'asha'?"),
    (put("scheduler", {"reduction_factor": 1}), "scheduler.reduction_factor: 1; must be 2 or more"),
    (put("scheduler", {"name": "fifo"}), "fidelity.min: 2, but fifo has no rungs; leave it out"),
    (put("searcher", {"name": "grid", "seed": 1}), "seed: unknown key; only another searcher.name"),
    (put("searcher", {"name": "grid"}), "optimizer.lr.type: a grid has no continuous values"),
    (put("searcher", {"sede": 1}), "sede: unknown key. Did you mean 'seed'?"),
    (put("budget/trials", 0), "budget.trials: 0; must be 1 or more"),
    (put("budget/hours", -1), "budget.hours: -1.0; must be above 0"),
    (put("resources", {"gpu": 1.5}), "resources.gpu: 1.5; above 1 it must be a whole number"),
    (put("resources", {"gpu": 3}), "resources.gpu: 3, but a data.batch_size of 4 cannot be"),
    (put("resources", {"cpu": 1.5}), "resources.cpu: 1.5; above 1 it must be a whole number"),
    (put("resources", {"cpu": 0}), "resources.cpu: 0; must be above 0"),
    # profiles
    (put("profiles/auto", {}), "profiles.auto: the name says that one is chosen"),
    (put("profiles/laptop/parameters", {}), "what is searched is the same under every profile"),
    (put("profiles/laptop/budgte", {}), "laptop.budgte: unknown key. Did you mean"),
    (put("profiles/laptop/budget", 3), "profiles.laptop.budget: 3; must be a mapping"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), REFUSED, ids=[said for _, said in REFUSED])
def test_refused(space_file: Callable[..., Path], change: Change, message: str) -> None:
    path = space_file(change)
    with pytest.raises(ConfigError) as raised:
        load_space(path)
    lines = str(raised.value).splitlines()
    assert any(message in line for line in lines), lines
    assert all(line.startswith(f"{path}: ") for line in lines)
    assert len({line.rpartition(": ")[2] for line in lines}) <= 3


def test_all_problems_are_told_at_once(space_file: Callable[..., Path]) -> None:
    def change(data: dict[str, Any]) -> None:
        data["fidelty"] = {}
        data["fidelity"]["min"] = 0
        data["parameters"]["optimizer.lr"]["prior"] = 1.0
        data["parameters"]["seeds"] = {"type": "int", "low": 0, "high": 1, "prior": 0}

    with pytest.raises(ConfigError) as raised:
        load_space(space_file(change))
    keys = [line.split(": ")[1] for line in str(raised.value).splitlines()]
    assert set(keys) == {
        "fidelty",
        "fidelity.min",
        "parameters.optimizer.lr.prior",
        "parameters.seeds",
    }


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("budget.trials=0", "--set budget.trials=0: budget.trials: 0; must be 1 or more"),
        ("budget.trials.x=3", "--set budget.trials.x=3: budget.trials: "),
        ("parameters.optimizer.lr=3", "it is one, set its keys: parameters.optimizer.lr.KEY"),
        ("base.model.name=", "--set base.model.name=: base.model.name: None is unknown"),
        ("budgt.trials=3", "'budgt.trials' is no key of a search space. Did you mean 'budget'?"),
        ("budget=3", "--set budget=3: 'budget' is a section; set its keys, budget.KEY"),
        ("budget.trials", "write it as key.path=value"),
        ("optimizer.lr=1.0e-4", "write base.optimizer.lr to fix it for all trials"),
        ("base.optimizer.lr=1.0e-4", "optimizer.lr: base fixes it to 0.0001"),
        ("base.data.batch_size=0", "--set base.data.batch_size=0: base.data.batch_size: 0;"),
        ("parameters.optimizer.lr.high='1e-4'", "--set parameters.optimizer.lr.high='1e-4': para"),
        ("parameters.optimizer.lrr.high=1.0", "is named so. Did you mean 'optimizer.lr'?"),
        ("fidelity.max=1", "with --set fidelity.max=1: fidelity.min: 2, above max (1)"),
    ],
)  # fmt: skip
def test_a_bad_override_is_named(
    space_file: Callable[..., Path], override: str, message: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        load_space(space_file(), overrides=[override])
    assert message in str(raised.value)


def test_of_two_overrides_of_a_key_the_last_is_named(space_file: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError, match="^--set budget.trials=x: budget.trials: 'x': should be"):
        load_space(space_file(), overrides=["budget.trials=3", "budget.trials=x"])


def test_a_problem_of_a_profile_is_named_by_its_place(space_file: Callable[..., Path]) -> None:
    path = space_file(put("profiles/laptop/resources/gpu", 3))
    load_space(path)
    with pytest.raises(ConfigError, match=r"mine\.yaml: profiles\.laptop\.resources\.gpu: 3, but"):
        load_space(path, "laptop")
    with pytest.raises(ConfigError, match=r"no profile 'laptopp'. Did you mean 'laptop'\?"):
        load_space(path, "laptopp")


def test_unknown_names_missing_files_and_broken_yaml(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"phase33: .* mean 'phase3'\? \(shipped: .*phase1"):
        load_space("phase33")
    with pytest.raises(ConfigError, match=r"gone\.yaml: there is no such file"):
        load_space(tmp_path / "gone.yaml")
    with pytest.raises(ConfigError, match="the shipped search space is called phase3"):
        load_space(tmp_path / "phase3.yaml")
    with pytest.raises(ConfigError, match="it is a folder"):
        load_space(f"{tmp_path}/")
    with pytest.raises(ConfigError, match=r"a{200}\.\. \(305 characters\): there is no such file"):
        load_space("a" * 300 + ".yaml")
    with pytest.raises(ConfigError, match="^'': there is no such search space"):
        load_space("")
    broken = tmp_path / "broken.yaml"
    broken.write_text("name: broken\nparameters: {a: [}\n")
    with pytest.raises(ConfigError, match=r"broken\.yaml: line 2: not valid YAML"):
        load_space(broken)
    broken.write_text("parameters:\n  seed: {}\n  seed: {}\n")
    with pytest.raises(ConfigError, match=r"line 3: .*'seed' is written twice"):
        load_space(broken)
    broken.write_text("- 1\n")
    with pytest.raises(ConfigError, match="holds list, not a mapping"):
        load_space(broken)


def test_what_base_refuses_is_said_once(space_file: Callable[..., Path]) -> None:
    path = space_file(put("objective", {"metric": "delta_rate"}))
    with pytest.raises(ConfigError, match=r"base\.loss\.metric: 'ms' is unknown") as raised:
        load_space(path, overrides=["base.loss.metric=ms"])
    assert len(str(raised.value).splitlines()) == 1


def test_the_name_of_a_copy_hides_no_other_problem(space_file: Callable[..., Path]) -> None:
    path = space_file(put("name", "other"))
    with pytest.raises(ConfigError) as raised:
        load_space(path, overrides=["resources.gpu=3"])
    assert "give both one name" in str(raised.value)
    assert "resources.gpu: 3, but a data.batch_size of 4 cannot be" in str(raised.value)
