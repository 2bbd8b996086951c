"""Search-space files: profiles, overrides, `extends`, the leading comment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpcm.schema import ConfigError
from tests.tuning.small_spaces import SPACE, put
from tuning import load_space


def test_profile_lies_over_the_file_section_by_section(space_file: Callable[..., Path]) -> None:
    laptop = load_space(space_file(), "laptop")
    assert laptop.profiles == ("laptop", "cluster")
    config = laptop.config(laptop.prior())
    assert (config.model.name, config.data.batch_size) == ("hpcm_tiny", 4)
    assert (config.epochs, config.schedule_horizon) == (18, 18)
    assert (laptop.resources.gpu, laptop.resources.cpu) == (0, 1)
    assert load_space(space_file(), "cluster").resources.gpu == 1


def test_overrides_reach_base_sections_and_parameters(space_file: Callable[..., Path]) -> None:
    given = [
        "budget.trials=3",
        "searcher.startup_trials=2",
        "base.data.batch_size=8",
        "parameters.optimizer.lr.high=1.0e-4",
        "parameters.balancer.name.prior=sum",
    ]
    space = load_space(space_file(), "laptop", given)
    assert (space.budget.trials, space.base["data"]["batch_size"]) == (3, 8)
    assert space.parameters["optimizer.lr"].high == 1e-4  # type: ignore[union-attr]
    assert space.prior()["balancer.name"] == "sum"


def test_extends_amends_replaces_drops_and_adds(space_file: Callable[..., Path]) -> None:
    space_file(name="parent")

    def change(data: dict[str, Any]) -> None:
        data.clear()
        data["extends"] = "parent.yaml"
        data["base"] = {"data": {"batch_size": 2}}
        data["parameters"] = {
            "optimizer.lr": {"prior": 1.0e-4},
            "balancer.gamma_schedule.final": None,
            "balancer.gamma": {**SPACE["parameters"]["balancer.gamma"], "high": 1.0e-2},
            "clip_max_norm": {"type": "float", "low": 0.1, "high": 10.0, "prior": 1.0},
        }

    child = load_space(space_file(change, name="child"))
    parent = load_space(space_file(name="parent"))
    data = {"val": "sample_val", "batch_size": 2, "workers": 0}
    assert (child.name, child.base["data"]) == ("child", data)
    assert child.fidelity == parent.fidelity
    assert child.profiles == parent.profiles
    lost, added = {"balancer.gamma_schedule.final"}, {"clip_max_norm"}
    assert set(child.parameters) == set(parent.parameters) - lost | added
    assert child.prior()["optimizer.lr"] == 1e-4
    assert child.parameters["balancer.gamma"].high == 1e-2  # type: ignore[union-attr]


def test_extends_is_one_level_and_never_itself(space_file: Callable[..., Path]) -> None:
    space_file(put("extends", "c.yaml"), name="b")
    space_file(put("extends", "b.yaml"), name="c")
    for name, extends, found in [
        ("a", "b.yaml", "b.yaml itself extends c.yaml; only one level is allowed"),
        ("c", "b.yaml", "b.yaml itself extends c.yaml"),
        ("a", "a.yaml", "a file cannot extend itself"),
        ("a", "gone.yaml", "gone.yaml: there is no such file"),
        ("a", "phase33", "no such search space. Did you mean 'phase3'?"),
        ("a", ["b"], "give the name or the path of one space"),
    ]:
        with pytest.raises(ConfigError) as raised:
            load_space(space_file(put("extends", extends), name=name))
        assert found in str(raised.value)
        assert str(raised.value).count("extends: ") == 1


def test_what_drops_every_inherited_parameter_is_refused(space_file: Callable[..., Path]) -> None:
    space_file(put("parameters", {"seed": {"type": "int", "low": 0, "high": 9, "prior": 0}}), "one")

    def change(data: dict[str, Any]) -> None:
        data.clear()
        data |= {"extends": "one.yaml", "parameters": {"seed": None}}

    with pytest.raises(
        ConfigError, match=r"none\.yaml: parameters: every inherited one is dropped"
    ):
        load_space(space_file(change, name="none"))


def test_a_name_is_short_enough_for_folders(space_file: Callable[..., Path]) -> None:
    load_space(space_file(name="n" * 64))
    with pytest.raises(ConfigError, match="use up to 64 letters, digits, - and _"):
        load_space(space_file(name="n" * 65))


def test_a_wrong_name_hides_nothing_else(space_file: Callable[..., Path]) -> None:
    def change(data: dict[str, Any]) -> None:
        data |= {"name": "other", "fidelity": {"min": 2, "max": 3}, "scheduler": {"name": "fifo"}}

    with pytest.raises(ConfigError) as caught:
        load_space(space_file(change))
    wrong, *more = str(caught.value).splitlines()
    assert "'other', but the file is mine.yaml" in wrong
    assert "fidelity.min" in "".join(more)


def test_the_path_of_a_space_is_whole_and_straight(
    space_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = space_file()
    (path.parent / "here").mkdir()
    monkeypatch.chdir(path.parent / "here")
    assert load_space("../mine.yaml").path == str(path)


def test_question_is_the_first_paragraph_of_the_leading_comment(
    space_file: Callable[..., Path],
) -> None:
    path = space_file(comment="# Does it\n# pay?\n#\n# python tune.py\n")
    assert load_space(path).question == "Does it pay?"
    assert load_space(space_file()).question == ""
